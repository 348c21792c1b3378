"""Draws of a calibration audit on a cluster, each a piece: quantized and scored there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from qreg.calibration.run import AuditRequest, Drawn, Key, drawing
from qreg.errors import QregError
from qreg.processes.executor import HERE, Executor, Piece, Places, Result, check_done
from qreg.processes.sending import case_at, case_content
from qreg.quantization.engines import use_engine
from qreg.records.decode import MismatchError, Signed, decoder, plain
from qreg.settings import Settings

_LIMIT_S = 6 * 3600.0


@dataclass
class DrawsOnCluster:
    """Draws in other processes, as `qreg.calibration.run.Elsewhere`.

    Attributes:
        environment: the kind of machine that runs them, as ranges are compared; "" for any.
    """

    executor: Executor
    settings: Settings
    request: AuditRequest
    environment: str = ""
    _waiting: dict[str, Key] = field(default_factory=dict)

    def start(self, keys: Sequence[Key]) -> None:
        case, options = self.request.case, self.request.options
        shared = case_content(self.settings, options, case)
        names = {f"draw {seed + 1} of {size} samples": (size, seed) for size, seed in keys}
        self._waiting |= names
        self.executor.add(
            [
                Piece(
                    name=name,
                    task=f"{__name__}:draw_sent",
                    content=json.dumps({**shared, "draw": list(key)}),
                    seconds=_LIMIT_S,
                    environment=self.environment,
                )
                for name, key in names.items()
            ]
        )

    def results(self) -> Mapping[Key, Drawn]:
        """What all draws that were started found.

        Raises:
            QregError: one could not be made.
        """
        found: dict[Key, Drawn] = {}
        total = len(self._waiting)
        while self._waiting:
            for piece, result in self.executor.poll():
                found[self._waiting.pop(piece.name)] = _read(piece.name, result)
            self.request.options.progress(len(found), total, self.executor.step())
            self.executor.wait()
        return found


@dataclass(frozen=True)
class _PlainDraw:
    """`Drawn` as JSON: zero points may be negative."""

    score: float
    ranges: tuple[tuple[str, float, Signed], ...]


def _read(name: str, result: Result) -> Drawn:
    check_done(name, result)
    try:
        found: _PlainDraw = decoder(_PlainDraw)(result)
    except MismatchError as error:
        raise QregError(f"{name}: what its machine found: {error}") from error
    return Drawn(found.score, found.ranges)


def draw_sent(content: dict[str, Any], places: Places = HERE) -> Result:
    """Quantize with a draw and score it."""
    size, seed = content["draw"]
    try:
        case, options = case_at(content, places)
        with use_engine(case.engine), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # as where the audit is
            found: Result = plain(drawing(case, options).draw(size, seed))
            return found
    except QregError as error:
        return {"error": str(error), "hint": error.hint}
