"""What forks that judge would each do once: done by their parent, they find it done.

Only modules of PyTorch, torchvision and torchao are imported: a user's are imported in the forks
alone, because what they do to their process must not reach another model. No operator is run
either: a kernel that ends or blocks its process must cost a case and not the run.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterable
from functools import cache

from qreg.models import needs_torchvision
from qreg.processes.memory import nothing_collected
from qreg.quantization import METHODS, PT2E_MODULES
from qreg.records.case import Case

# What every judging process imports; the first must be there.
HEAVY = ("qreg.gate.judge", "torch.export")
_FX, _PT2E = "qreg.quantization.fx_graph", "qreg.quantization.pt2e"
# What methods of these modules import at the first network they quantize.
_LATE = {_FX: ("torch.export._trace",), _PT2E: PT2E_MODULES}


def optional_modules(cases: Iterable[Case]) -> tuple[str, ...]:
    """What judging these cases imports beyond `HEAVY`; some may not be installed."""
    given = tuple(cases)
    methods = dict.fromkeys(METHODS.module(case.method) for case in given)
    ours = [name for name in methods if name.startswith("qreg.")]
    vision = ["torchvision"] if any(needs_torchvision(case.model) for case in given) else []
    return (*ours, *(late for name in ours for late in _LATE.get(name, ())), *vision)


@nothing_collected()
def warm_up(cases: Iterable[Case]) -> None:
    """Import and trace once what judging these cases does; what fails is left to the forks.

    Of a second group of cases only what the ones before it did not need.
    """
    for name in HEAVY:
        importlib.import_module(name)
    from qreg.quantization.needs import logging_silenced

    names = optional_modules(cases)
    with logging_silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        for module, first_use in ((_FX, _trace), (_PT2E, _export)):
            if module in names:
                with contextlib.suppress(Exception):
                    first_use()


@cache
def _trace() -> None:
    """Trace with stacks, for which PyTorch imports and looks up its own for a second once."""
    import torch
    from torch import fx

    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    tracer.trace(torch.nn.Identity())


@cache
def _export() -> None:
    import torch

    torch.export.export(torch.nn.Identity(), (torch.zeros(2, 1),))
