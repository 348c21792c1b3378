"""qreg: a regression harness for quantized PyTorch models."""

__version__ = "0.1.0"
