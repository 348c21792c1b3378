"""Run in a process of one side: ``python child.py JOB.json RESULT.json``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from qreg.processes import child

Enter = Callable[[str], None]


def _work(job: dict[str, Any], enter: Enter) -> dict[str, Any]:
    enter("importing torch")
    import torch

    enter("importing qreg")
    from qreg.measure.environment import capture_environment
    from qreg.upgrade.side.probing import ask_all

    torch.set_num_threads(1)
    if job["task"] == "make":
        enter("probing")
        ask_all(Path(job["folder"]), seconds=job["seconds"], interface=job["interface"])
    enter("running cases")
    _cases(job)
    # of cases that onnxruntime runs, where this side has it
    engines = {one["names"][3] for one in job["cases"]} if _has_onnxruntime() else set()
    engine = "onnxruntime" if "onnxruntime" in engines else ""
    return {"environment": vars(capture_environment(engine))}


def _has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def _cases(job: dict[str, Any]) -> None:
    """Run the cases of a model in one fork, so that they share the reference's logits."""
    importlib.import_module("torch.export")  # once, not in every fork

    from qreg.gate.observe import Gate
    from qreg.processes.forked import run_pieces

    gate = Gate(child.job_options(job))
    for _, group in groupby(job["cases"], key=lambda one: one["names"][:2]):
        run_pieces([_piece(job, one, gate) for one in group], seconds=job["seconds"])


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
