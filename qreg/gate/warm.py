"""What forks that judge would each do once: done by their parent, they find it done.

Only PyTorch's own modules are imported, and torchvision: a user's modules are imported in the
forks alone, because what they do to their process must not reach another model.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable

from qreg.records.case import Case

# The module that all methods which trace by torch.fx import.
_FX = "torch.ao.quantization.quantize_fx"


def warm_up(cases: Iterable[Case]) -> None:
    """Import and trace once what the models and methods of these cases do; never raises."""
    from qreg.models import needs_torchvision
    from qreg.quantization import METHODS

    given = tuple(cases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if any(needs_torchvision(case.model) for case in given):
            with contextlib.suppress(Exception):
                import torchvision  # noqa: F401
        for module in {METHODS.module(case.method) for case in given}:
            if module.startswith("qreg."):
                with contextlib.suppress(Exception):
                    __import__(module)
        if _FX in sys.modules:
            with contextlib.suppress(Exception):
                _trace()


def _trace() -> None:
    """Trace with stacks, for which PyTorch imports and looks up its own for a second once."""
    import torch
    from torch import fx

    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    tracer.trace(torch.nn.Identity())
