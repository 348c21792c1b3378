"""Run in a process of one side: ``python child.py JOB.json RESULT.json``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from qreg.files import write_atomically
from qreg.processes import child
from qreg.processes.memory import nothing_collected

Enter = Callable[[str], None]
# `torch.export` imports the second one when it exports.
_HEAVY = ("torch.export", "torch.export._trace")
# Processes of the model that is at work: that in which its cases are quantized, and another.
_KEPT = 2
_POLL_S = 0.02


def _work(job: dict[str, Any], enter: Enter) -> NoReturn:
    """Do one task after the other as they are given, until the driver ends this process."""
    with nothing_collected():
        enter("importing torch")
        import torch

        enter("importing qreg")
        from qreg.measure.environment import capture_environment
        from qreg.processes.local import LocalExecutor
        from qreg.upgrade.side.probing import ask_all

    torch.set_num_threads(1)
    tasks = Path(job["tasks"])
    pieces = tasks / "pieces"
    pieces.mkdir()
    executor = LocalExecutor(jobs=1, kept=_KEPT, folder=pieces)
    for number in itertools.count():
        enter("waiting for a task")
        given = _wait_for(tasks / f"{number}.task")
        folder = Path(given["folder"])
        if given["task"] == "make":
            # of cases that onnxruntime runs, where this side has it
            engines = {one["names"][3] for one in given["cases"]} if _has_onnxruntime() else set()
            engine = "onnxruntime" if "onnxruntime" in engines else ""
            text = json.dumps(vars(capture_environment(engine)))
            (folder / "environment.json").write_text(text, encoding="utf-8")
            enter("probing")
            ask_all(folder, seconds=job["seconds"], interface=given["interface"])
        enter("running cases")
        do_task({**job, **given}, executor)
        (tasks / f"{number}.done").touch()
    raise AssertionError("unreachable")


def _wait_for(path: Path) -> dict[str, Any]:
    while not path.exists():
        time.sleep(_POLL_S)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def do_task(job: dict[str, Any], executor: Any) -> None:
    """Do a task for each case, those of a model one after the other in one process.

    They share the reference's logits, and what PyTorch prepares at the first export. The process
    waits for more cases of the model in the same comparison; those that quantize have their own,
    where each warning that PyTorch emits once is to be seen.
    """
    from qreg.processes.executor import run

    if job["cases"]:
        _import_once()
    pieces = [_piece(job, one) for one in job["cases"]]
    for piece, result in run(executor, pieces):
        if result:  # it did not end as it should: else it has written its own
            write_atomically(Path(piece.name), json.dumps(result).encode())


def _piece(job: dict[str, Any], one: dict[str, Any]) -> Any:
    """The task for a case; its name is the file of its result."""
    from qreg.processes.executor import Piece
    from qreg.upgrade.case_files import CaseFiles

    task, model = job["task"], "/".join(one["names"][:2])
    doing = "quantizing" if task == "make" else "running"
    process = f"{job['comparison']}: {doing} {model}"
    return Piece(
        name=str(CaseFiles(Path(job["folder"]), one["number"]).file(f"{task}.json")),
        task="qreg.upgrade.side.case:do_case",
        content=json.dumps({**job, "cases": [], "case": one}),
        group=process,
        process=process,
        seconds=job["seconds"],
    )


@nothing_collected()
def _import_once() -> None:
    """What nearly every case imports and takes seconds: not in every fork."""
    for name in _HEAVY:
        with contextlib.suppress(ImportError):  # not in every version
            importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(child.main(*sys.argv[1:3], measure=_work))
