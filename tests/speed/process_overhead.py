"""What a process of its own for each model costs the gate.

    python tests/speed/process_overhead.py --rounds 3

The cases are judged as `pytest -m regression` judges them, one fork for each model, and all in a
single fork that imports what it needs itself. Each is started by a new process that has imported
PyTorch; the two are interleaved, and what is compared is processor time, that of the waiting parent
included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from qreg.baselines.folder import baseline_root
from qreg.gate.pool import JudgeRequest, Pool, _judge
from qreg.names import split_names
from qreg.processes.forked import run_pieces
from qreg.processes.temporary import temporary_folder
from qreg.records.case import Case
from qreg.selection import select_cases
from qreg.settings import read_settings
from qreg.stats.holm import family_alpha

ROOT = Path(__file__).parents[2]
TARGET = 0.05


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--datasets", type=split_names, default=())
    parser.add_argument("--models", type=split_names, default=())
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = read_settings(ROOT / "pyproject.toml")
    assert settings is not None
    cases = select_cases(settings, datasets=args.datasets, models=args.models)
    request = JudgeRequest(
        settings, baseline_root(own=settings.baselines), alpha=family_alpha(len(cases))
    )
    models = len({(case.dataset, case.model) for case in cases})
    print(f"{len(cases)} cases of {models} models")
    for run in (_each, _single):  # caches of data are there afterwards
        _cost(run, request, cases[:1])
    shares = []
    for number in range(args.rounds):
        order = (_each, _single) if number % 2 == 0 else (_single, _each)
        found = {run: _cost(run, request, cases) for run in order}
        shares.append(found[_each] / found[_single] - 1)
        print(
            f"round {number + 1}: a process for each model {found[_each]:.1f} s of processor time, "
            f"one for all {found[_single]:.1f} s: {shares[-1]:+.1%}",
            flush=True,
        )
    print(f"median {statistics.median(shares):+.1%} (target: at most {TARGET:.0%})")


def _cost(
    run: Callable[[JudgeRequest, Sequence[Case]], None],
    request: JudgeRequest,
    cases: Sequence[Case],
) -> float:
    before = _processor_time()
    # in a process of its own, so that neither finds imported what the other imported
    process = multiprocessing.get_context("fork").Process(target=run, args=(request, cases))
    process.start()
    process.join()
    assert process.exitcode == 0
    return _processor_time() - before


def _processor_time() -> float:
    found = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def _each(request: JudgeRequest, cases: Sequence[Case]) -> None:
    pool = Pool(request, cases, jobs=1)
    try:
        for case in cases:
            pool.verdict(case)
    finally:
        pool.close()


def _single(request: JudgeRequest, cases: Sequence[Case]) -> None:
    with temporary_folder("overhead") as folder:
        pieces = [
            (Path(folder, f"{number}.json"), partial(_judge, request, case))
            for number, case in enumerate(cases)
        ]
        run_pieces(pieces, seconds=request.timeout)
        assert all(path.exists() for path, _ in pieces)


if __name__ == "__main__":
    main()
