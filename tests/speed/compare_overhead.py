"""What `qreg compare` costs over a bare loop of plain torch: time and peak memory, as ratios.

    python tests/speed/compare_overhead.py --dataset cifar10 --rounds 3

Both are whole processes, started in turn. The bare loop loads the same checkpoints, quantizes by
the same four methods and evaluates the same images, in the plainest way torch offers; it prints
nothing but the counts, which must be equal to qreg's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = ("fp32", "dynamic", "static", "qat")


def bare(dataset_name: str) -> None:
    """The bare loop."""
    import warnings

    warnings.simplefilter("ignore")
    import numpy as np
    import torch
    from torch import nn
    from torch.ao import quantization as ao

    from qreg.data import get_dataset, load_split
    from qreg.files import shipped_folder
    from qreg.models.simple_cnn import SimpleCNN
    from qreg.training.checkpoints import find_checkpoint, load_checkpoint

    torch.backends.quantized.engine = "x86"
    dataset = get_dataset(dataset_name)
    test = load_split(dataset, "test")
    calibration = load_split(dataset, "train").head(512)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (dataset.mean, dataset.std))
    groups = [["conv1", "relu1"], ["conv2", "relu2"], ["conv3", "relu3"]]
    groups += [["fc1", "relu4"], ["fc2", "relu5"]]

    def images(split: object, start: int, size: int) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(split.images[start : start + size]))  # type: ignore[attr-defined]
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def load(kind: str, build: object) -> nn.Module:
        folders = (shipped_folder() / "checkpoints",)
        path = find_checkpoint(folders, "simple_cnn", dataset_name, kind)
        return load_checkpoint(path, build)[0]  # type: ignore[arg-type]

    def skeleton() -> nn.Module:
        model = ao.fuse_modules(SimpleCNN().eval(), groups)
        model.qconfig = ao.get_default_qat_qconfig("x86")
        return ao.prepare_qat(model.train()).apply(ao.disable_observer).eval()

    def made(method: str) -> nn.Module:
        if method == "qat":
            return ao.convert(load("qat", skeleton))
        model = load("fp32", SimpleCNN).eval()
        if method == "dynamic":
            return ao.quantize_dynamic(model, {nn.Linear})
        if method == "static":
            model = ao.fuse_modules(model, groups)
            model.qconfig = ao.get_default_qconfig("x86")
            model = ao.prepare(model)
            for start in range(0, 512, 64):
                model(images(calibration, start, 64))
            return ao.convert(model)
        return model

    counts = {}
    with torch.no_grad():
        for method in METHODS:
            model = made(method)
            correct = 0
            for start in range(0, len(test), 100):
                predicted = model(images(test, start, 100)).argmax(1).numpy()
                correct += int((predicted == test.labels[start : start + 100]).sum())
            counts[method] = correct
    print(json.dumps(counts))


def measured(command: list[str]) -> tuple[float, float, str]:
    """Seconds, peak resident MB and output of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    assert process.returncode == 0, command
    return seconds, usage.ru_maxrss / 1024, output


def main() -> None:
    """Run both in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        bare(args.dataset)
        return
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "compare.json"
        loop = [sys.executable, __file__, "--bare", "--dataset", args.dataset]
        qreg = [sys.executable, "-m", "qreg", "compare", "--dataset", args.dataset]
        qreg += ["--methods", ",".join(METHODS), "--json", str(written)]
        measured(qreg)  # fills the cache of decoded images, for both
        times, peaks = [], []
        for turn in range(args.rounds):
            pair = [measured(command) for command in ((loop, qreg), (qreg, loop))[turn % 2]]
            (bare_s, bare_mb, out), (qreg_s, qreg_mb, _) = pair if turn % 2 == 0 else pair[::-1]
            found = json.loads(written.read_text())["measurements"]
            assert json.loads(out) == {
                m["case"]["method"]: m["accuracy"]["correct"] for m in found
            }, "both must have done the same"
            print(
                f"round {turn + 1}: bare loop {bare_s:.1f} s, {bare_mb:.0f} MB; "
                f"qreg compare {qreg_s:.1f} s, {qreg_mb:.0f} MB"
            )
            times.append(qreg_s / bare_s)
            peaks.append(qreg_mb / bare_mb)
    print(f"time: {statistics.median(times):.2f} times the bare loop (target: at most 1.15)")
    print(f"peak memory: {statistics.median(peaks):.2f} times (target: at most 1.2)")


if __name__ == "__main__":
    main()
