"""Several PyTorch versions compared: what changes from each to the next, and where it appears."""
