"""A set of many samples, measured in bounded memory, whole and in shards, with equal results.

    python -m tests.cluster.large_set --count 200000 [--shards 20] [--jobs 2] [--machines 2]

Makes an npz archive of so many images, runs a small network on all of them in one process, then in
shards in several processes, then on a cluster of so many machines here; prints the highest memory
of a process for each, and whether rows, scores and their digest are equal bit for bit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

_NET = """
import torch
from torch import nn

def make_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4)
    )
"""
_TABLE = '[tool.qreg]\nmodels = ["large_nets:make_net"]\ndatasets = ["large.npz"]\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--machines", type=int, default=0, help="0: no cluster")
    parser.add_argument("--method", default="dynamic")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["QREG_CACHE_DIR"] = str(folder / "cache")
        project = folder / "project"
        project.mkdir()
        make(project / "large.npz", args.count)
        (project / "large_nets.py").write_text(_NET)
        (project / "pyproject.toml").write_text(_TABLE)
        size = (project / "large.npz").stat().st_size
        print(f"{args.count:,} samples of 32 x 32 x 3, {size / 1e6:,.0f} MB", flush=True)
        compare(args, project, stack)


def compare(args: argparse.Namespace, project: Path, stack: ExitStack) -> None:
    from qreg.measure.options import Options
    from qreg.measure.sharded import Sharded, observe_in_shards
    from qreg.processes.cluster import project_executor
    from qreg.processes.executor import Executor
    from qreg.processes.local import LocalExecutor
    from qreg.records.case import Case
    from qreg.selection import gate_options
    from qreg.settings import read_settings
    from tests.cluster.nodes import nodes

    settings = read_settings(project / "pyproject.toml")
    assert settings is not None
    os.chdir(project)
    options = gate_options(settings, Options(threads=1))
    case = Case("large", "large_nets:make_net", args.method, "x86")

    def on_cluster() -> Executor:
        cluster = stack.enter_context(nodes(project.parent))
        for _ in range(args.machines):
            cluster.add()
        return project_executor(cluster.address, settings, [case], options)

    ways: list[tuple[str, int, Callable[[], Executor]]] = [
        ("one process", 1, lambda: LocalExecutor(jobs=1)),
        (f"{args.jobs} processes", args.shards, lambda: LocalExecutor(jobs=args.jobs)),
    ]
    if args.machines:
        ways.append((f"{args.machines} machines", args.shards, on_cluster))
    found: list[Sharded] = []
    for name, parts, make_executor in ways:
        executor = make_executor()
        start = time.monotonic()
        try:
            one = observe_in_shards(case, settings, options, executor, parts=parts)
        finally:
            executor.close()
        found.append(one)
        print(
            f"{name}, {one.shards} shards: {one.observation.correct:,} of "
            f"{len(one.observation.index):,} correct, "
            f"logits {one.observation.digest[:16]}, at most {one.peak / 1e6:,.0f} MB in a "
            f"process, {time.monotonic() - start:.0f} s",
            flush=True,
        )
    equal = all(np.array_equal(one.observation.rows, found[0].observation.rows) for one in found)
    print(f"equal bit for bit: {equal}")
    raise SystemExit(not equal)


def make(path: Path, count: int) -> None:
    """An archive whose images are never all in memory."""
    import zipfile

    chance = np.random.default_rng(0)
    labels = np.arange(count) % 4
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for split, size in (("train", 512), ("test", count)):
            with archive.open(f"{split}_images.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (size, 32, 32, 3)}
                np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
                for start in range(0, size, 2000):
                    here = labels[start : min(start + 2000, size)]
                    noise = chance.integers(0, 160, (len(here), 32, 32, 3), dtype=np.uint8)
                    noise[..., :3] += (20 * here[:, None, None, None]).astype(np.uint8)
                    file.write(noise.tobytes())
            with archive.open(f"{split}_labels.npy", "w") as file:
                np.lib.format.write_array(file, labels[:size])


if __name__ == "__main__":
    main()
