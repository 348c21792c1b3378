"""Diagnosing exceptions of quantization and quantized models: layer, reason, advice."""
