"""Run in a fresh process: builds the cases, times them interleaved, and writes the results.

    python -m qreg.processes.child JOB.json RESULT.json

The driver runs this very file on both sides, whatever their revision: the measuring code is the
same, the measured code is the side's. It therefore imports only the standard library before
`_measure`, and little of qreg there.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: Number of calibration samples: kernel times do not depend on the quantization ranges.
_CALIBRATION = 16
_FOLDERS = ("data_dir", "checkpoints")
Call = Callable[[], object]


_SET_PARENT_DEATH_SIGNAL = 1


def end_with_parent() -> None:
    """Let this process be killed when the one that started it ends, however that ends (Linux).

    Source: prctl(2), PR_SET_PDEATHSIG; it counts for the thread that started this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


# Before the program itself: what is asked for survives its start. A parent that ended in between
# is another one now.
_FOLLOW = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl({number}, {signal})
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def following(command: Sequence[str]) -> list[str]:
    """A command, by its program's path, that is killed when this process ends (see above)."""
    code = _FOLLOW.format(number=_SET_PARENT_DEATH_SIGNAL, signal=int(signal.SIGKILL))
    return [sys.executable, "-SE", "-c", code, str(os.getpid()), *command]


def main(job_path: str, result_path: str, *, measure: Callable[..., Any] | None = None) -> int:
    """Do the job; returns the exit status, 0 if a result was written, even that of an error."""
    end_with_parent()
    turns = _listen()
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    stage = ["starting"]

    def enter(name: str) -> None:
        stage[0] = name
        Path(job["stage"]).write_text(name, encoding="utf-8")

    try:
        result = measure(job, enter) if measure else _measure(job, enter, turns)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        result = {"stage": stage[0], "error": text, "details": traceback.format_exc()}
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")
    return 0


def _listen() -> threading.Semaphore:
    """A semaphore that is released with each byte from the driver, which grants one burst.

    When the driver ends, even by a kill, its end of the pipe closes and this process exits.
    """
    turns = threading.Semaphore(0)

    def listen() -> None:
        # not sys.stdin: the interpreter takes its lock at exit
        while os.read(0, 1):
            turns.release()
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return turns


def _measure(
    job: dict[str, Any], enter: Callable[[str], None], turns: threading.Semaphore
) -> dict[str, Any]:
    enter("importing torch")
    import torch

    enter("importing qreg")
    import qreg

    capture_environment = _of_side("measure.environment", "environment").capture_environment
    torch.set_num_threads(job["options"]["threads"])
    calls = _make_all(job, enter)
    if job["count"]:
        enter("counting")
        _sibling("counting")["count"](calls, job["calls"], job["rounds"], job["warm_up"])
        return {"environment": vars(capture_environment())}
    enter("timing")
    if job["processor"] is not None:
        os.sched_setaffinity(0, {job["processor"]})
    shared = _turns(job["turns"], turns)
    seconds = _time(calls, job["calls"], shared, rounds=job["rounds"], warm_up=job["warm_up"])
    return {
        "environment": vars(capture_environment()),
        "qreg": str(Path(qreg.__file__).resolve().parent),
        "seconds": [_percentiles(times) for times in seconds],
        "kept": [times[: job["keep"]] for times in seconds],
    }


def _make_all(job: dict[str, Any], enter: Callable[[str], None]) -> list[Call]:
    """A call of each case on a batch of test samples, with the extra work of the job."""
    calls: list[Call] = []
    for names, extra in zip(job["cases"], job["extra"] or [(0, 1)] * len(job["cases"])):  # noqa: B905
        enter(f"making {names[0]}/{names[1]}/{names[2]}@{names[3]}")
        slower = _sibling("slowdowns") if extra[0] or job["serial"] else {}
        call = _make(job, names)
        call = slower["with_layers"](call, *extra) if extra[0] else call
        calls.append(slower["on_one_thread"](call) if len(calls) in job["serial"] else call)
    return calls


def _sibling(name: str) -> dict[str, Any]:
    """The globals of a file in this folder: the side's qreg may not have it."""
    return runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))


def _of_side(name: str, *old: str) -> Any:
    """A module of the side's qreg, which may be a revision that has it under an older name."""
    for one in (name, *old):
        try:
            return importlib.import_module(f"qreg.{one}")
        except ModuleNotFoundError as error:
            if one == (name, *old)[-1] or not f"qreg.{one}".startswith(error.name or "?"):
                raise
    raise AssertionError("unreachable")


def _attribute(module: Any, name: str, old: str) -> Any:
    """An attribute of a module of the side's qreg, which may have it under an older name."""
    return getattr(module, name, None) or getattr(module, old)


def _make(job: dict[str, Any], names: list[str]) -> Call:
    import torch

    from qreg.data import get_dataset
    from qreg.data.batches import batches

    subjects = _of_side("measure.subject", "prepare")
    case, options = _of_side("records.case", "records").Case(*names), job_options(job)
    dataset = get_dataset(dict(options.sources).get(case.dataset, case.dataset))
    test = _of_side("measure.options", "workshop").load_test(dataset, options)
    batch = job["options"]["batch"] or 1
    images = next(batches(test.head(batch), dataset, size=batch))
    setup = _attribute(subjects, "CaseSetup", "Workshop")(
        dataset=dataset,
        folders=options.folders,
        calibration=lambda: options.load(dataset, "train").take(range(_CALIBRATION)),
        sample=next(batches(test.head(2), dataset, size=2)),
    )
    made = subjects.prepare(case, setup)
    if not isinstance(made, subjects.Subject):
        raise RuntimeError(f"{made.reason} {made.hint}".strip())

    def call() -> object:
        with torch.no_grad():
            return made.run(images)

    return call


def job_options(job: dict[str, Any]) -> Any:
    """As this side's own ``[tool.qreg]`` says, unless the job's options do."""
    from qreg import selection
    from qreg.models import MODELS
    from qreg.settings import Settings, read_settings

    settings = read_settings(Path("pyproject.toml"))
    settings = settings or Settings(root=Path.cwd(), models=MODELS.names())
    brought = {model: Path(file) for model, file in job["options"].get("weight_files", ())}
    if bring := getattr(selection, "bring_weights", None):
        bring(brought)
    elif brought:
        raise RuntimeError("--weights-file is unknown to this revision of qreg")
    # has another name in revisions before 0.2
    (getattr(selection, "use_project", None) or selection.make_importable)(settings)  # type: ignore[attr-defined]
    made: Any = selection.gate_options
    given = job["options"]
    if of_plain := getattr(_of_side("measure.options", "workshop").Options, "of_plain", None):
        return made(settings, of_plain(given))
    found = made(settings, **{key: Path(given[key]) for key in _FOLDERS if given[key]})
    sources = tuple(map(tuple, given["sources"])) or found.sources
    return dataclasses.replace(found, sources=sources)


def _turns(ready: int | None, turns: threading.Semaphore) -> tuple[Call, Call]:
    """Functions that wait for a turn and report its end; the first report means "ready"."""
    if ready is None:
        return (lambda: None), (lambda: None)
    return turns.acquire, lambda: os.write(ready, b"d")


def _time(
    calls: list[Call],
    counts: list[int],
    turns: tuple[Call, Call],
    *,
    rounds: int,
    warm_up: int,
) -> list[list[float]]:
    """Seconds of each call of each case, in interleaved bursts, so that all share the noise."""
    seconds: list[list[float]] = [[] for _ in calls]
    take, give = turns
    gc.collect()
    gc.disable()
    give()
    for _ in range(rounds):
        take()
        for call, count, times in zip(calls, counts, seconds):  # noqa: B905
            for _ in range(warm_up):
                call()
            for _ in range(count):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        give()
    take()
    return seconds


def _percentiles(seconds: list[float]) -> dict[str, float]:
    import numpy as np

    low, middle, high = (float(p) for p in np.percentile(seconds, (5, 50, 95)))
    return {"p5": low, "p50": middle, "p95": high, "calls": len(seconds)}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
