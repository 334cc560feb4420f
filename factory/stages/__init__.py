"""One file a stage, each with the stage's whole story. No stage imports another."""
