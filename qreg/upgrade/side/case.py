"""The tasks of one side: quantizing and running a case, and running the other side's models."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qreg.artifacts.load import file_of
from qreg.baselines.store import Store
from qreg.data import inputs
from qreg.files import write_atomically
from qreg.gate.observe import Gate, all_logits
from qreg.gate.samples import GateSamples
from qreg.measure.observation import kept_elements
from qreg.measure.options import FEW_CALIBRATION
from qreg.measure.subject import Subject
from qreg.processes.child import job_options
from qreg.processes.executor import Places, Result
from qreg.quantization.engines import use_engine
from qreg.records.baseline import Baseline
from qreg.records.case import Case, Failure
from qreg.upgrade.case_files import KINDS, CaseFiles
from qreg.upgrade.judging import APPROVED
from qreg.upgrade.reading import LOGITS
from qreg.upgrade.side.artifacts import load_artifact, write_artifacts
from qreg.upgrade.side.observers import recorded_observers
from qreg.upgrade.side.outputs import LAYER_IMAGES, write_arrays, write_outputs
from qreg.upgrade.side.state import load_state, save_state

# Of this process, which does tasks of one comparison.
_gates: list[Gate] = []


def do_case(content: dict[str, Any], _: Places) -> Result:
    """Do a task for a case, in a process of the case's model; see `qreg.upgrade.child`.

    The result is in the case's file, as it may have numbers that are not finite.
    """
    if not _gates:
        _gates.append(Gate(job_options(content)))
    one, gate = content["case"], _gates[0]
    case = Case(*one["names"])
    own, first, second = (
        CaseFiles(Path(content[name]), one["number"]) for name in ("folder", "first", "second")
    )
    if content["task"] == "make":
        found = make_case(case, gate, own)
    elif content["task"] == "cross":
        found = cross_case(case, gate, own, second if own == first else first, first)
    else:
        states = [(x, files, one[x]) for x, files in (("A", first), ("B", second)) if one[x]]
        found = inspect_case(case, gate, own, states)
    write_atomically(own.file(f"{content['task']}.json"), json.dumps(found).encode())
    return {}


def make_case(case: Case, gate: Gate, files: CaseFiles) -> dict[str, Any]:
    """Quantize a case and run it; write its snapshot, state, outputs and artifacts."""
    samples = gate.samples(case.dataset)
    with _quiet(), recorded_observers() as log:
        made = samples.subject(case)
    if isinstance(made, Failure):
        return {"failure": asdict(made)}
    if _is_file(made):
        return _make_file(made, samples, gate, files)
    with _quiet(), use_engine(case.engine):
        # traced with several samples, so that the batch size is not specialized to 1
        images = samples.first(LAYER_IMAGES)
        save_state(files.file("state.safetensors"), made.model.state_dict())
        written = write_artifacts(made.model, images, files.stem)
        write_outputs(files.file("own.safetensors"), made.run, made.model, images)
        seen = gate.describe(made, samples)
    if isinstance(seen, Failure):
        return {"failure": asdict(seen)}
    Store(files.folder / "store").write(Baseline(seen, (APPROVED,)))
    return {"seen": log.rows(), "written": written}


def _is_file(subject: Subject) -> bool:
    """Whether it has no state to pass on: a delivered file, or what onnxruntime runs."""
    return file_of(subject.model) is not None


def _make_file(
    subject: Subject, samples: GateSamples, gate: Gate, files: CaseFiles
) -> dict[str, Any]:
    """Run a file on this side, and write its snapshot: both sides load the same file."""
    with _quiet():
        seen = gate.describe(subject, samples)
    if isinstance(seen, Failure):
        return {"failure": asdict(seen)}
    Store(files.folder / "store").write(Baseline(seen, (APPROVED,)))
    return {"file": True, "seen": [], "written": {}}


def cross_case(
    case: Case, gate: Gate, own: CaseFiles, other: CaseFiles, writer: CaseFiles
) -> dict[str, Any]:
    """Run both sides' quantized states on this side, and load the files of `writer`."""
    samples = gate.samples(case.dataset)
    skeleton = _skeleton(case, samples)
    if isinstance(skeleton, Failure):
        return {"failure": asdict(skeleton)}
    if _is_file(skeleton):
        return {"file": True}
    found: dict[str, Any] = {}
    with _quiet(), use_engine(case.engine):
        for name, files in (("control", own), ("carried", other)):
            found[name] = _attempt(partial(_run_transferred, name, skeleton, samples, own, files))
        unwritten = _unwritten(writer)
        for kind in KINDS:
            run = partial(_run_artifact, kind, skeleton, samples, own, writer)
            found[kind] = unwritten.get(kind) or _attempt(run)
    return found


def _unwritten(writer: CaseFiles) -> dict[str, str]:
    """Why the writer could not write kinds of files; PyTorch logs pages of one that is missing."""
    made: dict[str, Any] = json.loads(writer.file("make.json").read_text(encoding="utf-8"))
    written: dict[str, str] = made.get("written", {})
    return written


def inspect_case(
    case: Case, gate: Gate, own: CaseFiles, states: Sequence[tuple[str, CaseFiles, list[int]]]
) -> dict[str, Any]:
    """Write every layer's output on some samples, for each state (by letter)."""
    samples = gate.samples(case.dataset)
    skeleton = _skeleton(case, samples)
    if isinstance(skeleton, Failure):
        return {"failure": asdict(skeleton)}
    with _quiet(), use_engine(case.engine):
        for letter, files, rows in states:
            _load(skeleton, files)
            chosen = samples.at(np.array(rows, np.int64))
            images = chosen.first(len(chosen)).inputs
            path = own.file(f"look.{letter}.safetensors")
            write_outputs(path, skeleton.run, skeleton.model, images)
    return {}


def _run_transferred(
    name: str, skeleton: Subject, samples: GateSamples, own: CaseFiles, files: CaseFiles
) -> None:
    """Load a state into the model that this side built, and run it."""
    _load(skeleton, files)
    images = samples.first(LAYER_IMAGES)
    logits = all_logits(skeleton, samples)
    path = own.file(f"{name}.safetensors")
    write_outputs(path, skeleton.run, skeleton.model, images, logits=logits)


@torch.no_grad()
def _load(skeleton: Subject, files: CaseFiles) -> None:
    model = skeleton.model
    model.load_state_dict(load_state(files.file("state.safetensors"), model.state_dict()))


@torch.no_grad()
def _run_artifact(
    kind: str, skeleton: Subject, samples: GateSamples, own: CaseFiles, writer: CaseFiles
) -> None:
    run = load_artifact(kind, writer.stem, skeleton.model)
    first = samples.first(LAYER_IMAGES)
    logits, _ = kept_elements(run(first), inputs.count(first))
    write_arrays(own.file(f"loaded.{KINDS[kind]}.safetensors"), {LOGITS: logits})


def _attempt(work: Any) -> str:
    """How the work failed; "" if it succeeded."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def _skeleton(case: Case, samples: GateSamples) -> Subject | Failure:
    """A model whose state will be replaced."""
    few = replace(samples, options=replace(samples.options, calibration=FEW_CALIBRATION))
    with _quiet():
        return few.subject(case)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of building a case are recorded
        yield
