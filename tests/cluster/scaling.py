"""How the gate would scale to many machines: a simulation from measured times of its pieces.

    python -m tests.cluster.speed --pieces pieces.json
    python -m tests.cluster.scaling pieces.json [--projects 8] [--plot scaling.png]

A group of a model's cases runs alone on a processor; groups are those that the gate makes for so
many machines. A group that is not the model's first does again what its first case shares with the
others: as long as that case took more than the model's median. Each machine has one processor,
starts after a delay, imports PyTorch once, and takes the next group when it is done with one. The
sender hands groups out one after the other. With ``--lost`` a share of the machines is lost at a
random moment; cases that were done have their verdicts, and the rest of the group runs again.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
from dataclasses import replace
from pathlib import Path

from qreg.baselines.store import Store
from qreg.gate.pool import model_groups, spread_groups
from qreg.processes.spreading import parts_of
from qreg.records.case import Case

ROOT = Path(__file__).parents[2]
MACHINES = (1, 2, 5, 10, 20, 50, 100)
# Measured here: a Ray worker and the process with PyTorch; the sender's work for a piece.
START_S, SEND_S = 4.0, 0.02
_NOTICED_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", type=Path, help="what tests.cluster.speed --pieces wrote")
    parser.add_argument("--projects", type=int, default=8, help="so many times the shipped models")
    parser.add_argument("--lost", type=float, default=0.1, help="share of machines that are lost")
    parser.add_argument("--plot", type=Path, help="a PNG")
    args = parser.parse_args()
    seconds: dict[str, float] = json.loads(args.pieces.read_text())
    cases = [
        (replace(Case.parse(name), model=f"{Case.parse(name).model}-{number}"), took)
        for number in range(args.projects)
        for name, took in seconds.items()
    ]
    alone = sum(took for _, took in cases)
    print(f"{len(cases)} cases, {alone:.0f} s on one core; ", end="")
    print(f"with machines lost: {args.lost:.0%} of them")
    print("machines  groups  seconds  times as fast  with machines lost")
    rows = []
    for count in MACHINES:
        groups = groups_of(dict(cases), count)
        whole = simulated(groups, count, lost=0.0)
        lossy = simulated(groups, count, lost=args.lost)
        rows.append((count, alone / whole, alone / lossy))
        print(
            f"{count:8}  {len(groups):6}  {whole:7.1f}  {alone / whole:13.1f}  "
            f"{alone / lossy:18.1f}"
        )
    if args.plot:
        plot(rows, args.plot)


def groups_of(seconds: dict[Case, float], machines: int) -> list[list[float]]:
    """Seconds of each case of each group, in the order in which they are handed out."""
    shared: dict[tuple[str, str], float] = {}
    found = []
    models = model_groups(list(seconds))
    whole = {(group[0].dataset, group[0].model): group for group in models}
    store = Store(ROOT / "baselines")

    def size(case: Case) -> int:
        return store.size(replace(case, model=case.model.rpartition("-")[0]))

    for group in spread_groups(models, machines, size=size):
        name = group[0].dataset, group[0].model
        times = [seconds[case] for case in group]
        if name in shared:
            times[0] += shared[name]
        median = statistics.median(seconds[case] for case in whole[name])
        shared.setdefault(name, max(0.0, times[0] - median))
        found.append(times)
    return found


def simulated(groups: list[list[float]], machines: int, *, lost: float, seed: int = 0) -> float:
    """Seconds until every case has a result."""
    chance = random.Random(seed)
    usual = START_S + sum(map(sum, groups)) / machines
    ends = {
        number: chance.uniform(0, usual)
        for number in chance.sample(range(machines), round(lost * machines))
    }
    free = [(START_S, number) for number in range(machines)]
    heapq.heapify(free)
    waiting = [(0.0, group) for group in groups]
    handed = finish = 0.0
    while waiting:
        ready, group = waiting.pop(0)
        time, number = heapq.heappop(free)
        begin = max(time, ready, handed := handed + SEND_S)
        gone = ends.get(number, float("inf"))
        while group and begin + group[0] <= gone:
            begin, group = begin + group[0], group[1:]
            finish = max(finish, begin)
        if group:  # the machine is gone
            again = max(begin, gone) + _NOTICED_S
            waiting += [(again, part) for part in parts_of(group, machines)]
        else:
            heapq.heappush(free, (begin, number))
    return finish


def plot(rows: list[tuple[int, float, float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    counts = [row[0] for row in rows]
    axes.plot(counts, counts, color="0.7", label="as many times as machines")
    axes.plot(counts, [row[1] for row in rows], marker="o", label="simulated")
    axes.plot(counts, [row[2] for row in rows], marker="s", label="with machines lost")
    axes.set(xscale="log", yscale="log", xlabel="machines", ylabel="times as fast as one core")
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
