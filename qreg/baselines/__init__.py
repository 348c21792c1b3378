"""Approved measurements: their files, which of them applies, and how they change.

Nothing here imports torch.
"""
