"""Comparing two PyTorch versions: what an upgrade would change for quantized models."""
