"""What the gate costs, compared with a bare loop that quantizes and evaluates.

    python tests/speed/gate_overhead.py --rounds 3
    python tests/speed/gate_overhead.py --rounds 0 --pytest

The bare loop makes each case as the gate does and counts correct predictions on the gate's
samples; the gate observes it, reads the project's baseline and judges. Both run in one process,
interleaved case by case, on the same loaded data and after the same imports. The bare loop is that
of a script: it makes every case by itself, where the gate lets the methods of a model share what
they observe of the calibration samples. Times are of the processor, of this process; in brackets
they are seconds.

With --pytest the whole command is run too, with its start, its processes and the collection of
the project's other tests.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
    parser.add_argument("--pytest", action="store_true", help="time pytest -m regression, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = read_settings(ROOT / "pyproject.toml")
    assert settings is not None
    cases = select_cases(settings, datasets=args.datasets, models=args.models)
    gate = Gate(gate_options(settings), share=True)
    judge = Judge(
        gate, Store(baseline_root(own=settings.baselines)), alpha=family_alpha(len(cases))
    )
    print(f"{len(cases)} cases of {', '.join(args.datasets)}")
    if args.rounds:
        for case in cases:  # what is imported and loaded once, by each kind of method and model
            gate.samples(case.dataset).subject(case)
    for number in range(args.rounds):
        print(f"round {number + 1}: {_round(gate, judge, cases)}", flush=True)
    if args.pytest:
        print(_command(args.datasets, args.models))


def _command(datasets: tuple[str, ...], models: tuple[str, ...]) -> str:
    """The seconds of the whole command, and those of its processes."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "regression"]
    command += [f"--qreg-datasets={','.join(datasets)}"]
    command += [f"--qreg-models={','.join(models)}"] if models else []
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    own = after.children_user - before.children_user
    own += after.children_system - before.children_system
    if done.returncode not in {0, 1}:  # 1: some case is not what it was
        raise SystemExit(done.stdout + done.stderr)
    last = done.stdout.strip().splitlines()[-1:]
    return f"pytest -m regression: {seconds:.1f} s, {own:.1f} s of processors; {' '.join(last)}"


def _round(gate: Gate, judge: Judge, cases: tuple[Case, ...]) -> str:
    bare, judged = Spent(), Spent()
    for number, case in enumerate(cases):
        samples = gate.samples(case.dataset)
        if not isinstance(samples.subject(case), Subject):
            continue
        works = [(bare, partial(_bare, samples, case)), (judged, partial(_judged, judge, case))]
        for spent, work in works if number % 2 else reversed(works):
            spent.add(work)
    ratio = judged.processor / bare.processor
    return f"bare loop {bare}, gate {judged}: {ratio:.3f} times"


@dataclass
class Spent:
    """Seconds of this process's processor, and of the clock."""

    processor: float = 0.0
    clock: float = 0.0

    def add(self, work: Callable[[], None]) -> None:
        """Do a piece of work, and add its times."""
        processor, clock = time.process_time(), time.perf_counter()
        work()
        self.processor += time.process_time() - processor
        self.clock += time.perf_counter() - clock

    def __str__(self) -> str:
        return f"{self.processor:.1f} s ({self.clock:.1f} s)"


def _judged(judge: Judge, case: Case) -> None:
    verdict = judge.verdict(case)
    assert isinstance(verdict, Verdict)
    assert verdict.basis, verdict


@torch.no_grad()
def _bare(samples: GateSamples, case: Case) -> None:
    subject = samples.subject(case)
    assert isinstance(subject, Subject)
    right = 0
    with use_engine(case.engine):
        for number, images in enumerate(batches(samples.gate, samples.dataset, size=BATCH)):
            predicted = subject.run(images).argmax(dim=1).numpy()
            labels = samples.gate.labels[number * BATCH : number * BATCH + len(images)]
            right += int((predicted == labels).sum())
    assert 0 < right < len(samples)


if __name__ == "__main__":
    main()
