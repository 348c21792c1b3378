"""The sites of a case on a cluster: a piece for some of the batches, whose outputs are joined.

Batches are those of one process, and with them every bit; all sites of a batch are in one piece,
which share prefixes of the network. Screening and what measures time stay here, where the case is
built anyway.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.measure.sharded import plain_part, read_part
from qreg.processes.cluster import RayExecutor
from qreg.processes.executor import HERE, Executor, Piece, Places, Result, check_done, run
from qreg.processes.sending import case_at, case_content
from qreg.quantization.engines import use_engine
from qreg.sensitivity.measuring import (
    Prepared,
    Sites,
    SiteScores,
    batch_count,
    interleaved,
    prepared,
)
from qreg.sensitivity.run import Measured, measure_batch
from qreg.settings import Settings

# Of the outputs that one piece sends back.
_MOST_BYTES = 8 << 20
_LIMIT_S = 24 * 3600.0


@dataclass(frozen=True)
class OnCluster:
    """Measures the sites that matter in pieces, as `qreg.sensitivity.run.Fully`.

    Attributes:
        parts: number of pieces that are worth having: how many can run at a time.
        environment: the kind of machine that runs them; "" for any.
    """

    executor: Executor
    settings: Settings
    options: Options
    parts: int
    environment: str = ""

    def __call__(self, ready: Prepared, measured: Measured) -> None:
        """Measure.

        Raises:
            QregError: a piece could not be done.
        """
        pieces = list(self._pieces(ready, measured))

        def tick() -> None:
            step = self.executor.step()
            self.options.progress(measured.samples, len(ready.test), f"measuring sites: {step}")

        for piece, result in run(self.executor, pieces, tick=tick):
            check_done(piece.name, result)
            for kind, site, part in result["seen"]:
                measured.scores.add_part((Sites(kind), site), read_part(part))
            measured.samples += result["samples"]

    def _pieces(self, ready: Prepared, measured: Measured) -> Iterator[Piece]:
        size = ready.runs.batch
        count = batch_count(ready.test, size)
        parts = min(count, max(self.parts, math.ceil(self._bytes(ready, measured) / _MOST_BYTES)))
        shared = {
            **case_content(self.settings, self.options, ready.case),
            "size": size,
            "sites": ready.sites,
            "full": list(measured.full),
        }
        for number in range(parts):
            batches = list(range(number, count, parts))
            yield Piece(
                name=f"{ready.case} part {number + 1} of {parts}",
                task=f"{__name__}:sites_sent",
                content=json.dumps({**shared, "batches": batches}),
                seconds=_LIMIT_S,
                environment=self.environment,
            )

    def _bytes(self, ready: Prepared, measured: Measured) -> int:
        """Of all outputs that are sent back, by those of the screening."""
        runs = 2 * len(measured.full) + 3
        return runs * len(ready.test) * measured.row_bytes


def cluster_measuring(executor: RayExecutor, settings: Settings, options: Options) -> OnCluster:
    """Measuring on the machines of the most common kind, on all of their processors.

    Raises:
        QregError: a machine cannot do any work.
    """
    kind = executor.most_common_kind()
    return OnCluster(executor, settings, options, executor.room(kind), kind)


def sites_sent(content: dict[str, Any], places: Places = HERE) -> Result:
    """Run some batches of a case with its sites switched."""
    try:
        case, options = case_at(content, places)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as where the case is built first
            ready = prepared(case, options)
            if ready.sites != content["sites"]:
                raise QregError(f"{ready.sites} sites here, not {content['sites']}")
            seen, samples = _seen(ready, content)
    except QregError as error:
        return {"error": str(error), "hint": error.hint}
    found = [[kind.value, n, plain_part(one.part())] for (kind, n), one in seen.observers.items()]
    return {"seen": found, "samples": samples}


@torch.no_grad()
def _seen(ready: Prepared, content: dict[str, Any]) -> tuple[SiteScores, int]:
    seen, samples = SiteScores(ready.dataset), 0
    with use_engine(ready.case.engine):
        for batch in interleaved(ready.test, content["size"], content["batches"]):
            measure_batch(ready, seen, content["full"], batch)
            samples += len(batch)
    return seen, samples
