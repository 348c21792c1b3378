"""From an exception of quantizing or of a quantized model to the layer, the reason, the advice."""
