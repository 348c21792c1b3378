"""Kinds of files that one PyTorch writes of a model and another has to load."""

#: And the end of the file's name.
KINDS = {"state dict": "state.pt", "TorchScript": "script.pt", "exported program": "program.pt2"}
