"""Records as JSON: the envelope that all files share.

docs/reference/measurement.md describes every key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from qreg import __version__
from qreg.records.case import Failure
from qreg.records.measurement import Measurement

#: 1: format, qreg, created, measurements and failures as in qreg.records.case.
FORMAT = 1


def measurements_text(
    results: Sequence[Measurement | Failure],
    *,
    created: str,
    budget: Sequence[dict[str, Any]] = (),
) -> str:
    """All measurements, failures and results of a budget, keys sorted.

    Args:
        created: an ISO 8601 time.
    """
    content: dict[str, Any] = {
        "measurements": [asdict(r) for r in results if isinstance(r, Measurement)],
        "failures": [asdict(r) for r in results if isinstance(r, Failure)],
    }
    if budget:
        content["budget"] = list(budget)
    return enveloped(content, number=FORMAT, created=created)


def enveloped(content: dict[str, Any], *, number: int, created: str) -> str:
    """The content in its envelope, keys sorted. `created` is an ISO 8601 time."""
    whole = {"format": number, "qreg": __version__, "created": created, **content}
    return json.dumps(whole, sort_keys=True, allow_nan=False, default=_plain) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} cannot be written")
