"""A case run on a large set of samples in shards, by index, each in any process or machine.

Shards are cut where batches are, so that every batch is the same as in one process, and with it
every bit of what is computed; what the shards found is joined sample by sample, and only then
summarized.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qreg.data.dataset import Dataset
from qreg.errors import QregError
from qreg.measure.comparison import BATCH
from qreg.measure.observation import Observation, ObservedPart, Observer
from qreg.measure.options import Options, load_test
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.processes.executor import HERE, Executor, Piece, Places, Result, check_done, run
from qreg.processes.sending import case_at, case_content
from qreg.records.case import Case, Failure
from qreg.settings import Settings
from qreg.tasks import Scores

_LIMIT_S = 24 * 3600.0


@dataclass(frozen=True)
class Sharded:
    """What was seen on all samples, and the highest resident memory of a process, in bytes."""

    observation: Observation
    shards: int
    peak: int


def shards_of(count: int, parts: int, *, batch: int = BATCH) -> tuple[tuple[int, int], ...]:
    """Ranges of sample positions, at most `parts`, of whole batches but for the last batch.

    Raises:
        ValueError: a number is below 1.
    """
    if min(count, parts, batch) < 1:
        raise ValueError(f"{count} samples in {parts} shards of batches of {batch}")
    batches = -(-count // batch)
    parts = min(parts, batches)
    cuts = [round(number * batches / parts) * batch for number in range(parts)]
    return tuple(zip(cuts, [*cuts[1:], count], strict=True))


@dataclass(frozen=True)
class Sharding:
    """Where shards run, and how many of each case: an `Observe` of `qreg.measure.comparison`.

    Attributes:
        environment: the kind of machine that runs them; "" for any.
    """

    settings: Settings
    options: Options
    executor: Executor
    parts: int
    environment: str = ""

    def __call__(self, cases: Sequence[Case]) -> tuple[Observation | Failure, ...]:
        """Run cases of one dataset on its whole test split.

        Raises:
            QregError: the task needs fp32's outputs on the same samples.
        """
        found = self.shards(cases)
        return tuple(one if isinstance(one, Failure) else one.observation for one in found.values())

    def shards(self, cases: Sequence[Case]) -> dict[Case, Sharded | Failure]:
        """The same, with what the shards took."""
        dataset = self.options.dataset(cases[0].dataset)
        if Observer(dataset).needs_reference:
            raise QregError(
                f"the task {dataset.task} compares with fp32's outputs, batch by batch",
                hint="measure it in one process: without --shards and --ray",
            )
        ranges = shards_of(len(load_test(dataset, self.options)), self.parts)
        owners = {piece: case for case in cases for piece in self._pieces(case, ranges)}
        parts: dict[Case, list[Result]] = {case: [] for case in cases}
        failed: dict[Case, Failure] = {}
        done = 0

        def tick() -> None:
            what = f"shards of test samples {self.executor.step()}".strip()
            self.options.progress(done, len(owners), what)

        for piece, result in run(self.executor, list(owners), tick=tick):
            case, done = owners[piece], done + 1
            if failure := _failed(case, piece, result):
                failed.setdefault(case, failure)
            else:
                parts[case].append(result)
        return {case: failed.get(case) or _joined(dataset, parts[case]) for case in cases}

    def _pieces(self, case: Case, ranges: Sequence[tuple[int, int]]) -> Iterator[Piece]:
        shared = case_content(self.settings, self.options, case)
        for first, last in ranges:
            yield Piece(
                name=f"{case} samples {first} to {last}",
                task=f"{__name__}:shard_sent",
                content=json.dumps({**shared, "range": [first, last]}),
                seconds=_LIMIT_S,
                environment=self.environment,
            )


def _failed(case: Case, piece: Piece, result: Result) -> Failure | None:
    """Why a case has no outputs, in one line, as where it runs in one process."""
    if failure := result.get("failure"):
        return Failure(case, **failure)
    try:
        check_done(piece.name, result)
    except QregError as error:
        return Failure(case, str(error), error.hint, unavailable=False)
    return None


def _joined(dataset: Dataset, results: Sequence[Result]) -> Sharded:
    observer = Observer(dataset)
    for result in results:
        observer.add_part(read_part(result["part"]))
    peak = max(result["peak"] for result in results)
    return Sharded(observer.result(), len(results), peak)


def observe_in_shards(
    case: Case, settings: Settings, options: Options, executor: Executor, *, parts: int
) -> Sharded:
    """Run a case on its whole test split, in `parts` shards.

    Raises:
        QregError: a shard could not be done, or the task needs fp32's outputs.
    """
    found = Sharding(settings, options, executor, parts).shards([case])[case]
    if isinstance(found, Failure):
        raise QregError(f"{case}: {found.reason}", hint=found.hint)
    return found


def shard_sent(content: dict[str, Any], places: Places = HERE) -> Result:
    """Run a case on a range of its test samples, read batch by batch."""
    first, last = content["range"]
    try:
        case, options = case_at(content, places)
        dataset = options.dataset(case.dataset)
        test = load_test(dataset, options)
        made = prepare(case, case_setup(dataset, test, options))
        if not isinstance(made, Subject):
            return {"failure": {k: v for k, v in vars(made).items() if k != "case"}}
        part = _observed(made, dataset, test.rows(np.arange(first, last)))
    except QregError as error:
        return {"error": str(error), "hint": error.hint}
    return {"part": plain_part(part), "peak": _peak()}


@torch.no_grad()
def _observed(subject: Subject, dataset: Dataset, samples: Any) -> ObservedPart:
    observer = Observer(dataset)
    for batch in samples.batches(BATCH):
        observer.add(subject.run(batch.inputs), batch)
    return observer.part()


def _peak() -> int:
    """The highest resident memory of this process so far, in bytes; source: getrusage(2)."""
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def plain_part(part: ObservedPart) -> dict[str, Any]:
    """What was observed, as JSON; arrays bit by bit."""
    scores = part.scores
    arrays = {"rows": part.rows, "index": part.index, "labels": part.labels}
    if scores is not None:
        more = {"values": scores.values, "score_rows": scores.rows, "codes": scores.predictions}
        arrays |= more
    packed = {name: _packed(one) for name, one in arrays.items() if one is not None}
    return {**packed, "elements": part.elements, "cut": part.cut}


def read_part(content: dict[str, Any]) -> ObservedPart:
    """What `plain_part` made JSON of.

    Raises:
        QregError: an array holds objects.
    """
    arrays = {name: _unpacked(one) for name, one in content.items() if isinstance(one, dict)}
    scores = None
    if "values" in arrays:
        scores = Scores(arrays["values"], arrays.get("score_rows"), arrays.get("codes"))
    return ObservedPart(
        rows=arrays["rows"],
        index=arrays["index"],
        labels=arrays.get("labels"),
        scores=scores,
        elements=int(content["elements"]),
        cut=int(content["cut"]),
    )


def _packed(array: Any) -> dict[str, Any]:
    given = np.ascontiguousarray(array)
    little = given.astype(given.dtype.newbyteorder("<"), copy=False)
    text = base64.b64encode(little.tobytes()).decode()
    return {"dtype": little.dtype.str, "shape": list(little.shape), "data": text}


def _unpacked(packed: dict[str, Any]) -> Any:
    kind = np.dtype(packed["dtype"])
    if kind.hasobject:
        raise QregError("an array of a shard holds objects")
    array = np.frombuffer(base64.b64decode(packed["data"]), kind).reshape(packed["shape"])
    return array.astype(kind.newbyteorder("="))
