"""What an export is made of: the model with its base, merged weights, GGUF files, the adapter as a GGUF."""
