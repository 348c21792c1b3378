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
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from qreg.processes import child

Enter = Callable[[str], None]
# `torch.export` imports the second one when it exports.
_HEAVY = ("torch.export", "torch.export._trace")
_POLL_S = 0.02


def _work(job: dict[str, Any], enter: Enter) -> NoReturn:
    """Do one task after the other as they are given, until the driver ends this process."""
    enter("importing torch")
    import torch

    enter("importing qreg")
    from qreg.measure.environment import capture_environment
    from qreg.upgrade.side.probing import ask_all

    torch.set_num_threads(1)
    tasks = Path(job["tasks"])
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
        do_task({**job, **given})
        (tasks / f"{number}.done").touch()
    raise AssertionError("unreachable")


def _wait_for(path: Path) -> dict[str, Any]:
    while not path.exists():
        time.sleep(_POLL_S)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def do_task(job: dict[str, Any]) -> None:
    """Run the cases of a model in one fork, so that they share the reference's logits."""
    if job["cases"]:
        _import_once()

    from qreg.gate.observe import Gate
    from qreg.processes.forked import run_pieces

    gate = Gate(child.job_options(job))
    for _, group in groupby(job["cases"], key=lambda one: one["names"][:2]):
        run_pieces([_piece(job, one, gate) for one in group], seconds=job["seconds"])


def _import_once() -> None:
    """What nearly every case imports and takes seconds: not in every fork."""
    for name in _HEAVY:
        with contextlib.suppress(ImportError):  # not in every version
            importlib.import_module(name)


def _piece(job: dict[str, Any], one: dict[str, Any], gate: Any) -> Any:
    from qreg.records.case import Case
    from qreg.upgrade.case_files import CaseFiles
    from qreg.upgrade.side.case import cross_case, inspect_case, make_case

    case = Case(*one["names"])
    own, first, second = (
        CaseFiles(Path(job[name]), one["number"]) for name in ("folder", "first", "second")
    )
    other = second if own == first else first
    if job["task"] == "make":
        return own.file("make.json"), partial(make_case, case, gate, own)
    if job["task"] == "cross":
        return own.file("cross.json"), partial(cross_case, case, gate, own, other, first)
    states = [(x, files, one[x]) for x, files in (("A", first), ("B", second)) if one[x]]
    return own.file("look.json"), partial(inspect_case, case, gate, own, states)


if __name__ == "__main__":
    sys.exit(child.main(*sys.argv[1:3], measure=_work))
