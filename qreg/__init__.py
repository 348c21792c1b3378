"""qreg: a regression harness for quantized PyTorch models.

The public API, imported when it is first asked for: ``import qreg`` imports no torch.

    >>> import qreg
    >>> fp32, dynamic = qreg.compare("linear_100", "shapes10", methods=["dynamic"])
    >>> dynamic.size.weight_bytes < fp32.size.weight_bytes
    True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qreg.api import compare, judge
    from qreg.data import Dataset
    from qreg.errors import QregError
    from qreg.measure.options import Options
    from qreg.quantization import Method
    from qreg.records.case import Case, Failure
    from qreg.records.comparison import Comparison
    from qreg.records.measurement import Measurement
    from qreg.records.verdict import Outcome, Verdict

__version__ = "0.2.0"

#: Where each public name lies.
_WHERE = {
    "Case": "qreg.records.case",
    "Comparison": "qreg.records.comparison",
    "Dataset": "qreg.data",
    "Failure": "qreg.records.case",
    "Measurement": "qreg.records.measurement",
    "Method": "qreg.quantization",
    "Options": "qreg.measure.options",
    "Outcome": "qreg.records.verdict",
    "QregError": "qreg.errors",
    "Verdict": "qreg.records.verdict",
    "compare": "qreg.api",
    "judge": "qreg.api",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'qreg' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


__all__ = [
    "Case",
    "Comparison",
    "Dataset",
    "Failure",
    "Measurement",
    "Method",
    "Options",
    "Outcome",
    "QregError",
    "Verdict",
    "__version__",
    "compare",
    "judge",
]
