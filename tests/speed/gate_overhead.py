"""What the gate costs, compared with a bare loop that quantizes and evaluates.

    python tests/speed/gate_overhead.py --rounds 3

The bare loop makes each case as the gate does and counts correct predictions on the gate's
samples; the gate observes it, reads the project's baseline and judges. Both run in one process,
interleaved case by case.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from qreg.baselines.folder import baseline_root
from qreg.baselines.store import Store
from qreg.data.batches import batches
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.gate.samples import GateSamples
from qreg.measure.comparison import BATCH
from qreg.measure.subject import Subject
from qreg.names import split_names
from qreg.quantization.engines import use_engine
from qreg.records.case import Case
from qreg.records.verdict import Verdict
from qreg.selection import gate_options, select_cases
from qreg.settings import read_settings
from qreg.stats.holm import family_alpha

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--datasets", type=split_names, default=("shapes10",))
    parser.add_argument("--models", type=split_names, default=())
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = read_settings(ROOT / "pyproject.toml")
    assert settings is not None
    cases = select_cases(settings, datasets=args.datasets, models=args.models)
    gate = Gate(gate_options(settings))
    judge = Judge(
        gate, Store(baseline_root(own=settings.baselines)), alpha=family_alpha(len(cases))
    )
    judge.verdict(cases[0])  # what is loaded once
    print(f"{len(cases)} cases of {', '.join(args.datasets)}")
    for number in range(args.rounds):
        print(f"round {number + 1}: {_round(gate, judge, cases)}", flush=True)


def _round(gate: Gate, judge: Judge, cases: tuple[Case, ...]) -> str:
    bare = judged = 0.0
    for number, case in enumerate(cases):
        subject = gate.samples(case.dataset).subject(case)
        if not isinstance(subject, Subject):
            continue
        if number % 2:
            bare += _bare(gate.samples(case.dataset), case)
            judged += _judged(judge, case)
        else:
            judged += _judged(judge, case)
            bare += _bare(gate.samples(case.dataset), case)
    return f"bare loop {bare:.1f} s, gate {judged:.1f} s: {judged / bare:.3f} times"


def _judged(judge: Judge, case: Case) -> float:
    start = time.perf_counter()
    verdict = judge.verdict(case)
    assert isinstance(verdict, Verdict)
    assert verdict.basis, verdict
    return time.perf_counter() - start


@torch.no_grad()
def _bare(samples: GateSamples, case: Case) -> float:
    start = time.perf_counter()
    subject = samples.subject(case)
    assert isinstance(subject, Subject)
    right = 0
    with use_engine(case.engine):
        for number, images in enumerate(batches(samples.gate, samples.dataset, size=BATCH)):
            predicted = subject.run(images).argmax(dim=1).numpy()
            labels = samples.gate.labels[number * BATCH : number * BATCH + len(images)]
            right += int((predicted == labels).sum())
    assert 0 < right < len(samples)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
