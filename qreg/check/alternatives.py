"""Trying the methods that are advised in place of a blocked one, wherever it was blocked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from qreg.check.attempt import Build, attempt
from qreg.check.records import AttemptOutcome
from qreg.data.inputs import Inputs
from qreg.processes.forked import run_together
from qreg.processes.temporary import temporary_folder
from qreg.quantization.needs import logging_silenced

#: A method that takes longer is not advised.
SECONDS = 300


def works(
    names: Sequence[str], build: Build, engine: str, batches: Sequence[Inputs]
) -> dict[str, bool]:
    """Which of these methods can quantize a model, each tried in its own fork.

    Args:
        build, engine, batches: as of `qreg.check.attempt.attempt`.
    """
    with temporary_folder("alternatives") as folder:
        files = {name: folder / f"{number}.json" for number, name in enumerate(names)}
        pieces = [(files[n], partial(_works, n, build, engine, batches)) for n in files]
        run_together(pieces, jobs=os.cpu_count() or 1, seconds=SECONDS)
        found = {n: json.loads(path.read_text(encoding="utf-8")) for n, path in files.items()}
    return {name: bool(one.get("works")) for name, one in found.items()}


def _works(name: str, build: Build, engine: str, batches: Sequence[Inputs]) -> dict[str, Any]:
    # kernels of a process that has run in parallel hang in its forks
    torch.set_num_threads(1)
    with logging_silenced():
        return {"works": attempt(name, build, engine, batches).outcome is AttemptOutcome.WORKS}
