"""One PyTorch against another: what would change for quantized models."""
