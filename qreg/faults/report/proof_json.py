"""The proof as JSON, with the fields of `qreg.faults.results`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from qreg import __version__
from qreg.faults.results import Proof
from qreg.records.verdict import Outcome

#: 1: format, qreg, holds and the fields of `Proof`; null for an infinite distance in dB.
FORMAT = 1


def proof_text(proof: Proof) -> str:
    """The whole proof, keys sorted."""
    content = {"format": FORMAT, "qreg": __version__, "holds": proof.holds, **asdict(proof)}
    return json.dumps(_plain(content), sort_keys=True, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Outcome):
        return value.value
    infinite = isinstance(value, float) and not math.isfinite(value)
    return None if infinite else value
