"""How the gate would scale to many machines: a simulation from measured times of its pieces.

    python -m tests.cluster.speed --pieces pieces.json
    python -m tests.cluster.scaling pieces.json [--projects 8] [--plot scaling.png]

A piece is a model's cases: it runs alone on a processor. Each machine has one processor, starts
after a delay, imports PyTorch once, and takes the next piece when it is done with one. The
sender hands pieces out one after the other. With ``--lost`` a share of the machines is lost at a
random moment, and what they were doing runs again.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from pathlib import Path

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
    measured: dict[str, float] = json.loads(args.pieces.read_text())
    pieces = list(measured.values()) * args.projects
    alone, longest = sum(pieces), max(pieces)
    print(f"{len(pieces)} models' cases, {alone:.0f} s on one core; the longest {longest:.1f} s")
    print("machines  seconds  times as fast  with machines lost")
    rows = []
    for count in MACHINES:
        whole = simulated(pieces, count, lost=0.0)
        lossy = simulated(pieces, count, lost=args.lost)
        rows.append((count, alone / whole, alone / lossy))
        print(f"{count:8}  {whole:7.1f}  {alone / whole:13.1f}  {alone / lossy:18.1f}")
    if args.plot:
        plot(rows, args.plot)


def simulated(pieces: list[float], machines: int, *, lost: float, seed: int = 0) -> float:
    """Seconds until every piece has a result."""
    chance = random.Random(seed)
    usual = START_S + sum(pieces) / machines
    ends = {n: chance.uniform(0, usual) for n in range(1, machines) if chance.random() < lost}
    free = [(START_S, number) for number in range(machines)]
    heapq.heapify(free)
    waiting = [(0.0, one) for one in pieces]
    handed = finish = 0.0
    while waiting:
        ready, seconds = waiting.pop(0)
        time, number = heapq.heappop(free)
        begin = max(time, ready, handed := handed + SEND_S)
        end = begin + seconds
        if end > ends.get(number, float("inf")):
            waiting.append((max(begin, ends[number]) + _NOTICED_S, seconds))
            continue  # the machine is gone
        finish = max(finish, end)
        heapq.heappush(free, (end, number))
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
