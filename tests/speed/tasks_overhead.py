"""What the gate costs on other tasks than classification, compared with a bare loop.

    python tests/speed/tasks_overhead.py --rounds 3

The networks and data of tests/examples with random weights. The bare loop makes each case as the
gate does, runs it on the gate's samples and scores them by the task; the gate records a baseline
in a temporary folder first, then observes and judges. Both run in one process, interleaved, the
samples and fp32's outputs in memory, as for every case of a model but the first. The last line is
of all cases: what the gate adds to a case hardly depends on its size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from qreg.baselines.store import Store
from qreg.data import define_datasets
from qreg.data.source import DatasetSource
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.measure.comparison import BATCH
from qreg.measure.observation import Observer
from qreg.measure.options import Options
from qreg.measure.subject import Subject
from qreg.quantization.engines import default_engine, use_engine
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Verdict

_EXAMPLES = "tests.examples"
CASES = (
    ("houses:mlp", "houses:data", "regression", "static"),
    ("sentences:recurrent", "sentences:data", "classification", "dynamic"),
    ("outlines:unet", "outlines:masks", "segmentation", "fx-static"),
    ("outlines:detector", "outlines:detections", "detection", "fx-static"),
    ("outlines:box_net", "outlines:boxes", "regression", "static"),
    ("tones:net", "tones:data", "classification", "static"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=len(CASES), help="the first cases only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = CASES[: args.count]
    define_datasets(
        [DatasetSource(data, f"{_EXAMPLES}.{data}", task=task) for _, data, task, _ in chosen]
    )
    totals = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        gate, store = Gate(Options()), Store(Path(folder))
        judge = Judge(gate, store, alpha=0.01)
        for model, data, task, method in chosen:
            case = Case(data, f"{_EXAMPLES}.{model}", method, default_engine())
            seen = gate.observe(case)
            assert isinstance(seen, Snapshot), seen
            store.write(Baseline(seen, (Approval("first", "2026-01-01T00:00:00+00:00", "", ""),)))
            found = _rounds(gate, judge, case, args.rounds)
            totals = [total + one for total, one in zip(totals, found, strict=True)]
            print(f"{model} {method}, {task}: {_text(*found)}", flush=True)
    print(f"all: {_text(*totals)}")


def _text(bare: float, judged: float) -> str:
    added = 1000 * (judged - bare)
    return (
        f"bare loop {bare:.3f} s, gate {judged:.3f} s of CPU: {judged / bare:.3f} times, "
        f"{added:+.0f} ms"
    )


def _rounds(gate: Gate, judge: Judge, case: Case, rounds: int) -> tuple[float, float]:
    """Seconds of the bare loop and of the gate, the smallest of all rounds."""
    bare, judged = [], []
    for number in range(rounds):
        steps = [(_bare, bare, gate), (_judged, judged, judge)]
        for work, times, given in steps if number % 2 else reversed(steps):
            start = time.process_time()
            work(given, case)
            times.append(time.process_time() - start)
    return min(bare), min(judged)


def _judged(judge: Judge, case: Case) -> None:
    verdict = judge.verdict(case)
    assert isinstance(verdict, Verdict)
    assert verdict.basis, verdict


@torch.no_grad()
def _bare(gate: Gate, case: Case) -> None:
    samples = gate.samples(case.dataset)
    subject = samples.subject(case)
    assert isinstance(subject, Subject)
    observer = Observer(samples.dataset)
    with use_engine(case.engine):
        for batch in samples.gate.batches(BATCH):
            observer.add(subject.run(batch.inputs), batch)
    observer.result()


if __name__ == "__main__":
    main()
