"""What people run: the specialist as an adapter, merged weights, GGUF, an Ollama folder, or a folder to hand over."""
