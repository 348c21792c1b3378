"""Quantization faults, and the proof that the gate detects them.

One file per family; a new fault is an entry in one of them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from qreg.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qreg.faults.fault import Fault


#: What is not injected into a case of the gate, but has a name as a fault: see `Proof`.
BAD_SITE, BUDGET_MISSED = "bad-site", "budget-missed"
PROOFS = (BAD_SITE, BUDGET_MISSED)


def chosen_proofs(names: Sequence[str]) -> tuple[str, ...]:
    """Those of `PROOFS` among names of faults; all of them if no name is given."""
    return tuple(name for name in PROOFS if name in names or not names)


@cache
def all_faults() -> dict[str, Fault]:
    """Every fault by name.

    Raises:
        ValueError: two have the same name.
    """
    from qreg.faults.families.calibration import CALIBRATION
    from qreg.faults.families.data import DATA
    from qreg.faults.families.files import FILES
    from qreg.faults.families.left_float import LEFT_FLOAT
    from qreg.faults.families.observers import OBSERVERS
    from qreg.faults.families.parameters import PARAMETERS
    from qreg.faults.families.rounding import ROUNDING
    from qreg.faults.families.runtime import RUNTIME
    from qreg.faults.families.slow import SLOW
    from qreg.faults.families.storage import STORAGE
    from qreg.faults.families.structure import STRUCTURE
    from qreg.faults.families.training import TRAINING
    from qreg.faults.families.weights import WEIGHTS

    making = (PARAMETERS, WEIGHTS, ROUNDING, CALIBRATION, OBSERVERS, STRUCTURE, LEFT_FLOAT)
    families = (*making, TRAINING, DATA, RUNTIME, STORAGE, SLOW, FILES)
    listed = [fault for family in families for fault in family]
    found = {fault.name: fault for fault in listed}
    if len(found) != len(listed):
        raise ValueError("two faults have the same name")
    return found


def get_faults(names: Sequence[str]) -> tuple[Fault, ...]:
    """The faults with these names, in order and without `PROOFS`; all faults if no name is given.

    Raises:
        UnknownNameError: a name is unknown.
    """
    known = all_faults()
    for name in names:
        if name not in known and name not in PROOFS:
            raise UnknownNameError("fault", name, (*known, *PROOFS))
    return tuple(known[name] for name in (names or known) if name in known)
