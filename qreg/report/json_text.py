"""Measurements as JSON; docs/measurement.md describes every key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from qreg import __version__
from qreg.records import Failure, Measurement

#: 1: format, qreg, created, measurements and failures as in qreg.records.
FORMAT = 1


def measurements_text(results: Sequence[Measurement | Failure], *, created: str) -> str:
    """The whole of what was measured, keys sorted. `created` is an ISO 8601 time."""
    content = {
        "format": FORMAT,
        "qreg": __version__,
        "created": created,
        "measurements": [asdict(r) for r in results if isinstance(r, Measurement)],
        "failures": [asdict(r) for r in results if isinstance(r, Failure)],
    }
    return json.dumps(content, sort_keys=True, allow_nan=False) + "\n"
