"""What the gate costs for ONNX files, compared with a bare loop over onnxruntime.

    python tests/speed/onnx_gate_overhead.py --rounds 3

Ten int8 files of two networks are written and approved in a temporary folder, with the fp32 that
they are compared with. The bare loop starts a session, runs the gate's samples in batches and
counts correct predictions; fp32 is run by PyTorch in both. Interleaved case by case in one
process, on one thread; by the clock, and by processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from qreg.artifacts.onnx_file import OnnxModel, need_onnx
from qreg.baselines.store import Store
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.gate.samples import GateSamples
from qreg.measure.comparison import BATCH
from qreg.measure.options import ONE_THREAD
from qreg.measure.subject import Subject
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Outcome, Verdict
from qreg.stats.holm import family_alpha

METHODS = (
    "ort-static",
    "ort-static-per-tensor",
    "ort-static-full-range",
    "ort-static-qoperator",
    "ort-dynamic",
)
MODELS = ("resnet20", "simple_cnn")
APPROVED = Approval("overhead", "2026-01-01T00:00:00Z", "", "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    options = replace(ONE_THREAD, download=False, calibration=64)
    gate = Gate(options)
    with tempfile.TemporaryDirectory() as folder:
        cases = [case for model in args.models for case in _written(gate, model, Path(folder))]
        store = Store(Path(folder, "baselines"))
        for case in cases:
            seen = gate.observe(case)
            assert isinstance(seen, Snapshot), seen
            store.write(Baseline(seen, (APPROVED,)))
        print(f"{len(cases)} cases of {', '.join(args.models)}")
        for number in range(args.rounds):
            print(f"round {number + 1}: {_round(options, store, cases)}", flush=True)


def _written(gate: Gate, model: str, folder: Path) -> Iterator[Case]:
    """fp32, and a file of each method."""
    yield Case("shapes10", model, "fp32", "x86")
    for method in METHODS:
        made = gate.samples("shapes10").subject(Case("shapes10", model, method, "onnxruntime"))
        assert isinstance(made, Subject), made
        assert isinstance(made.model, OnnxModel)
        path = folder / f"{model}-{method}.onnx"
        path.write_bytes(made.model.content)
        yield Case("shapes10", model, f"file:{path}", "onnxruntime")


def _round(options: object, store: Store, cases: list[Case]) -> str:
    gate = Gate(options)  # type: ignore[arg-type]  # a new one, as of a new run of pytest
    judge = Judge(gate, store, alpha=family_alpha(len(cases)))
    samples = gate.samples("shapes10")
    samples.subject(cases[0])  # what is loaded once
    bare, judged = np.zeros(2), np.zeros(2)
    for number, case in enumerate(cases):
        if number % 2:
            bare += _bare(samples, case)
            judged += _judged(judge, case)
        else:
            judged += _judged(judge, case)
            bare += _bare(samples, case)
    clock, processor = judged / bare
    return (
        f"bare loop {bare[0]:.2f} s, gate {judged[0]:.2f} s: {clock:.3f} times; "
        f"processor time {processor:.3f} times"
    )


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def _judged(judge: Judge, case: Case) -> np.ndarray:
    start = _now()
    verdict = judge.verdict(case)
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.PASS, verdict
    return _now() - start


@torch.no_grad()
def _bare(samples: GateSamples, case: Case) -> np.ndarray:
    start = _now()
    if case.method == "fp32":
        subject = samples.subject(case)
        assert isinstance(subject, Subject)
        run = subject.run
    else:
        (ort,) = need_onnx("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = case.method.partition(":")[2]
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (name,) = (one.name for one in session.get_inputs())

        def run(given: object) -> torch.Tensor:
            assert isinstance(given, torch.Tensor)
            (found,) = session.run(None, {name: given.contiguous().numpy()})
            return torch.from_numpy(found)

    right = 0
    for batch in samples.gate.batches(BATCH):
        assert isinstance(batch.targets, torch.Tensor)
        right += int((run(batch.inputs).argmax(dim=1) == batch.targets).sum())
    assert 0 < right < len(samples)
    return _now() - start


if __name__ == "__main__":
    main()
