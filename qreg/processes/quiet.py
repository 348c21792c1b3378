"""What PyTorch's C++ code prints by itself."""

from __future__ import annotations

import os
import warnings


def silence_kernels() -> None:
    """Have kernels print no warnings, before PyTorch is imported here or in a child process.

    Before PyTorch 2.15 they go past Python's warnings to standard error, some at each call: a
    network with in-place leaky ReLUs printed a thousand between a command and its table. Whoever
    sets the variable themselves sees them.
    """
    if os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR") == "ERROR":
        warnings.filterwarnings("ignore", module=r"torch\._ops")
