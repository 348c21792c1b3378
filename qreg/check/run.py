"""`qreg check`: tries each method on a model in its own process."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.check.attempt import attempt, of_plain, plain
from qreg.check.contract import Labelled, observe_contract, observe_tracing
from qreg.check.contract import plain as plain_contract
from qreg.check.records import (
    Attempt,
    AttemptOutcome,
    CheckReport,
    InputShape,
    ObservedModel,
    Remark,
    RemarkLevel,
)
from qreg.check.rule import contract_remarks, untried, with_what_works
from qreg.data import Batch
from qreg.data.inputs import Inputs, head
from qreg.diagnosis.run import diagnosis_of
from qreg.errors import MissingCheckpointError, QregError
from qreg.measure.options import Options
from qreg.models import MODELS, build_model, is_file, is_shipped
from qreg.models.contract import takes
from qreg.processes.forked import run_together
from qreg.processes.temporary import temporary_folder
from qreg.quantization import METHODS, Method
from qreg.quantization.engines import engines_for
from qreg.quantization.needs import logging_silenced, need_torchao
from qreg.records.method import CheckpointKind, Need
from qreg.training.checkpoints import find_checkpoint, load_checkpoint

CLASSIFICATION = "classification"
#: Samples a batch, and batches: enough to calibrate with and to see a batch's influence.
_BATCH, _BATCHES = 8, 2
#: Numbers of a sample from which on half as many are drawn: observers take most of the time.
_LARGE = 100_000
#: Numbers of a batch: more is a slip of the pen, and would fill the memory.
_MOST = 1 << 28
#: How the result of a process that exceeded its time limit begins.
_NO_RESULT = "gave no result in "
#: What code raises that ends its program.
_LEAVING = ("SystemExit", "KeyboardInterrupt")
#: Labelled samples whose accuracy is compared with chance.
_LABELLED = 256


@dataclass(frozen=True)
class CheckRequest:
    """What to check.

    Attributes:
        dataset: whose samples the model is run on; "" for random inputs.
        inputs: the shapes of random inputs, drawn from `seed`.
        batch: samples of a random batch; 0: 8, and 4 of large ones.
        jobs: processes at a time.
        seconds: a method that takes longer is blocked.
        tracing: whether torch.fx and torch.export are tried by themselves.
        alternatives: whether methods are tried that would be advised in place of blocked ones.
    """

    model: str
    methods: tuple[str, ...]
    engine: str
    dataset: str = ""
    inputs: tuple[InputShape, ...] = ()
    batch: int = 0
    seed: int = 0
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    seconds: int = 300
    tracing: bool = True
    alternatives: bool = True
    options: Options = field(default_factory=Options)


def check(request: CheckRequest) -> CheckReport:
    """Check a model's contract and try each method on it.

    Raises:
        QregError: the model or the dataset is not found.
    """
    given = _given(request)
    _import_once(request)
    build = partial(_build, request, head(given.batches[0], 2))
    with temporary_folder("check") as name:
        works: dict[str, Callable[[], dict[str, Any]]] = {
            "contract": lambda: _contract(build, given),
        }
        if request.tracing:
            works["tracing"] = lambda: _tracing(build, given)
        works |= _methods(request.methods, build, request, given)
        found = _run(works, Path(name), request)
        ended = ""
        if "died" in found["contract"]:
            alone = _run({"factory": partial(_only_built, request.model)}, Path(name), request)
            ended = "the factory" if "died" in alone["factory"] else "the model"
        attempts = tuple(_attempt(one, found[f"method {one}"], ended) for one in request.methods)
        others: tuple[Attempt, ...] = ()
        # what is advised was seen to work
        while request.alternatives and (advised := untried(attempts, others)):
            tried = _run(_methods(advised, build, request, given), Path(name), request)
            others += tuple(_attempt(one, tried[f"method {one}"], ended) for one in advised)
    contract = _judged(found["contract"], found.get("tracing", {}), ended)
    data = request.dataset or ", ".join(map(str, request.inputs))
    return CheckReport(
        request.model, request.engine, data, contract, with_what_works(attempts, others)
    )


def _methods(
    names: tuple[str, ...],
    build: Callable[[Method], nn.Module],
    request: CheckRequest,
    labelled: Labelled,
) -> dict[str, Callable[[], dict[str, Any]]]:
    return {f"method {one}": partial(_try, one, build, request, labelled) for one in names}


def _run(
    works: dict[str, Callable[[], dict[str, Any]]], folder: Path, request: CheckRequest
) -> dict[str, dict[str, Any]]:
    there = sum(1 for _ in folder.glob("*.json"))
    files = {what: folder / f"{there + number}.json" for number, what in enumerate(works)}
    names, done = {path: what for what, path in files.items()}, 0

    def show(path: Path) -> None:
        nonlocal done
        done += 1
        request.options.progress(done, len(works), f"{request.model}: {names[path]}")

    def wait(running: Mapping[Path, float]) -> None:
        # some take minutes: torchao on a BatchNorm that it cannot fold
        text = ", ".join(f"{names[path]} ({seconds:.0f} s)" for path, seconds in running.items())
        if text:
            request.options.progress(done, len(works), f"{request.model}: trying {text}")

    pieces = [(files[what], work) for what, work in works.items()]
    run_together(pieces, jobs=request.jobs, seconds=request.seconds, done=show, waiting=wait)
    return {what: json.loads(path.read_text(encoding="utf-8")) for what, path in files.items()}


def _import_once(request: CheckRequest) -> None:
    """What several forks need is imported before them; its own words are no one's."""
    # kernels of a process that has run in parallel hang in its forks
    torch.set_num_threads(1)
    if not is_file(request.model):
        # each fork says so itself; a module may end the process that imports it
        silent = io.StringIO()
        with suppress(Exception, SystemExit), redirect_stdout(silent), redirect_stderr(silent):
            MODELS.get(request.model)
    asked = [METHODS.info(name) for name in request.methods]
    if any(Need.TORCHAO in info.requires for info in asked):
        try:
            need_torchao()
        except QregError:
            return  # each method says so itself


def _given(request: CheckRequest) -> Labelled:
    if not request.dataset:
        return Labelled(tuple(random_inputs(request)))
    dataset = request.options.dataset(request.dataset)
    samples = request.options.load(dataset, "test")
    known = bool(dataset.classes) and samples.labels is not None
    if known or dataset.task == CLASSIFICATION:
        count = min(_LABELLED, len(samples))
        # spread over the split: data sorted by class would show one class only
        step = max(1, len(samples) // count)
        samples = samples.take(samples.index[::step][:count])
    else:
        samples = samples.head(_BATCH * _BATCHES)
    size = max(2, min(_BATCH, len(samples)))
    read = tuple(samples.batches(size))
    labels = torch.as_tensor(samples.labels) if known else _labels_read(dataset.task, read)
    batches = tuple(batch.inputs for batch in read)
    scored = (samples.first(_BATCH), dataset)
    return Labelled(batches, labels, len(dataset.classes), scored, samples.computed)


def _labels_read(task: str, batches: Sequence[Batch]) -> torch.Tensor | None:
    """Labels of a dataset that tells them with its items only; None where targets are no labels."""
    targets = [batch.targets for batch in batches]
    whole = all(
        isinstance(one, torch.Tensor) and one.ndim == 1 and one.dtype is torch.int64
        for one in targets
    )
    if task != CLASSIFICATION or not whole:
        return None
    found = torch.cat(targets)
    return found if int(found.min()) >= 0 else None


def random_inputs(request: CheckRequest) -> list[Inputs]:
    """Batches of random values in the shapes that are asked for, from the seed.

    Raises:
        QregError: they are larger than any model's inputs.
    """
    generator = torch.Generator().manual_seed(request.seed)
    shapes = request.inputs or (InputShape((3, 224, 224)),)
    large = sum(math.prod(one.shape) for one in shapes) > _LARGE
    batch = request.batch or (_BATCH // 2 if large else _BATCH)
    if batch * sum(math.prod(one.shape) for one in shapes) > _MOST:
        raise QregError(
            f"--input {', '.join(map(str, shapes))}: a batch of {batch} has more than {_MOST:,} "
            f"numbers",
            hint="give the shape of one sample, and smaller batches: --batch",
        )
    return [_random_batch(shapes, batch, generator) for _ in range(_BATCHES)]


def _random_batch(shapes: tuple[InputShape, ...], batch: int, generator: torch.Generator) -> Inputs:
    drawn = [_drawn(each, batch, generator) for each in shapes]
    if all(each.name for each in shapes):
        return {each.name: tensor for each, tensor in zip(shapes, drawn, strict=True)}
    return drawn[0] if len(drawn) == 1 else tuple(drawn)


def _drawn(one: InputShape, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Floats are normal, bools are true, integers small: they may be indices; or as is asked."""
    dtype: torch.dtype = getattr(torch, one.dtype)
    shape = (batch, *one.shape)
    if dtype is torch.bool:
        return torch.ones(shape, dtype=dtype)
    if not dtype.is_floating_point:
        low, high = (0, 9) if one.low is None or one.high is None else (one.low, one.high)
        drawn = torch.randint(int(low), int(high) + 1, shape, generator=generator)
        return drawn.to(dtype)
    if one.low is None or one.high is None:
        return torch.randn(shape, generator=generator).to(dtype)
    share = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (one.low + share * (one.high - one.low)).to(dtype)


def _build(request: CheckRequest, sample: Inputs, method: Method | None = None) -> nn.Module:
    """The model with the weights that the method would start from, else as the factory made it."""

    def build() -> nn.Module:
        fresh = build_model(request.model)
        if not is_shipped(request.model):
            with suppress(Exception):  # what runs it next says so
                fresh = takes(fresh.eval(), sample)
        return method.skeleton(fresh) if method else fresh

    kind = method.checkpoint if method else CheckpointKind.FP32
    try:
        folders = request.options.folders
        path = find_checkpoint(folders, request.model, _dataset_name(request), kind)
    except MissingCheckpointError:
        return build()
    return load_checkpoint(path, build)[0]


def _dataset_name(request: CheckRequest) -> str:
    return request.options.dataset(request.dataset).name if request.dataset else "none"


def _contract(build: Callable[[], nn.Module], labelled: Labelled) -> dict[str, Any]:
    try:
        with logging_silenced():
            return plain_contract(observe_contract(build().eval(), labelled))
    except QregError as error:
        return {"refused": str(error), "hint": error.hint}
    except Exception as error:
        found = diagnosis_of(error)
        return {"refused": found.reason, "hint": found.remedy, "where": found.where}


def _tracing(build: Callable[[], nn.Module], labelled: Labelled) -> dict[str, Any]:
    with logging_silenced():
        return observe_tracing(build().eval(), head(labelled.batches[0], 2))


def _try(
    name: str, build: Callable[[Method], nn.Module], request: CheckRequest, labelled: Labelled
) -> dict[str, Any]:
    with logging_silenced():
        (engine,) = engines_for(METHODS.info(name), (request.engine,))
        return plain(attempt(name, build, engine, labelled.batches[:_BATCHES]))


def _only_built(model: str) -> dict[str, Any]:
    build_model(model)
    return {}


def _judged(result: dict[str, Any], tracing: dict[str, Any], ended: str) -> tuple[Remark, ...]:
    reason = result.get("refused") or result.get("raised")
    if "died" in result:
        reason = f"{ended} ended the process, which {result['died']}"
        if result["died"].startswith(_NO_RESULT):
            reason = f"{ended} {result['died']}"
    if reason:
        text = f"the float model does not run: {reason}"
        advice = result.get("hint", "")
        return (Remark("runs", RemarkLevel.BROKEN, text, advice, result.get("where", "")),)
    traced = {key: tracing.get(key, "") for key in ("fx", "export")}
    lists = {key: tuple(result[key]) for key in ("quantized", "fitting", "shape", "written")}
    repeated = tuple((name, count) for name, count in result["repeated"])
    return contract_remarks(ObservedModel(**{**result, **lists, "repeated": repeated, **traced}))


def _attempt(method: str, result: dict[str, Any], ended: str) -> Attempt:
    """What a method's process came to.

    Args:
        ended: what of the model ends a process without any method; "" if nothing does.
    """
    if "method" in result:
        return of_plain(result)
    reason, remedy = result.get("raised", ""), "PyTorch's own fault, by all signs: report it there"
    if reason.startswith(_LEAVING):
        remedy = "the model's own code must raise what is wrong, and not end the program"
    if "died" in result:
        reason = f"PyTorch's process {result['died']}"
        if ended:
            reason = f"{ended} ends the process, whatever the method: it {result['died']}"
            remedy = "see what is said of the float model"
        elif result["died"].startswith(_NO_RESULT):
            reason, remedy = (
                result["died"],
                "give it more time, --timeout SECONDS, or smaller inputs",
            )
    return Attempt(
        method,
        AttemptOutcome.BLOCKED,
        reason=reason,
        remedy=remedy,
        traceback=result.get("details", ""),
    )
