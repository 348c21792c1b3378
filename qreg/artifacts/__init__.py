"""Delivered model files: ONNX, exported programs (.pt2), TorchScript.

A file is a method (``file:net_int8.onnx``, compared with the float model), or the float model
itself (``--model file:net.onnx``). Nothing in a file is unpickled.
"""
