"""A folder of generated JPEGs, evaluated by `qreg.compare`'s loop and by a bare one.

    python tests/speed/image_folder.py --count 20000

256 x 256 pixels, ten classes, in a temporary folder. The ratio of wall-clock time, and of CPU time,
to a bare loop that decodes with PIL in as many threads and runs the same network on the same
samples; and the growth of the resident set at most. Each is measured in a process of its own, after
the imports. The second number of qreg's is of its next run, which finds decoded images in the cache
where these are smaller than a gigabyte.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from qreg.measure.observation import Observer
from qreg.measure.options import Options

SIDE, CLASSES, BATCH = 256, 10, 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="of JPEGs")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _generate(folder / "test", args.count)
        os.environ["QREG_CACHE_DIR"] = str(folder / "cache")
        for number in range(args.rounds):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            bare = _apart(_bare, folder)
            print(f"round {number + 1}: {args.count} JPEGs: bare loop {_text(*bare)}", flush=True)
            for name in ("qreg", "qreg again"):
                ours = _apart(_ours, folder)
                wall, cpu = (one / other for one, other in zip(ours[:2], bare[:2], strict=True))
                print(f"  {name} {_text(*ours)}: {wall:.2f} times, {cpu:.2f} of CPU", flush=True)


def _text(wall: float, cpu: float, grown: int) -> str:
    return f"{wall:.1f} s, {cpu:.1f} s of CPU, peak +{grown / 1e9:.2f} GB"


def _generate(folder: Path, count: int) -> None:
    for kind in range(CLASSES):
        (folder / str(kind)).mkdir(parents=True)
    numbers = range(count)
    paths = [folder / str(number % CLASSES) / f"{number:06}.jpg" for number in numbers]
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.starmap(_draw, zip(paths, numbers, strict=True), chunksize=64)


def _draw(path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    places = np.arange(SIDE) / SIDE
    waves = np.sin(places[:, None, None] * rng.uniform(5, 40, 3) + places[None, :, None] * 9)
    noise = rng.normal(0, 8, (SIDE, SIDE, 3))
    pixels = (waves * 80 + 128 + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES),
    ).eval()  # fmt: skip


def _apart(work: Any, folder: Path) -> tuple[float, float, int]:
    """Seconds, seconds of CPU, and bytes of `work`, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: tuple[float, float, int] = pool.apply(_measured, (work, folder))
    return found


def _measured(work: Any, folder: Path) -> tuple[float, float, int]:
    from tests.speed.memory import peak_growth

    torch.set_num_threads(1)
    seconds = []

    def timed() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        work(folder)
        seconds.extend((time.perf_counter() - start, time.process_time() - cpu))

    grown = peak_growth(timed)
    return seconds[0], seconds[1], grown or 0


@torch.no_grad()
def _bare(folder: Path) -> None:
    files = sorted((folder / "test").glob("*/*.jpg"))
    model = _net()

    def read(path: Path) -> Any:
        return np.asarray(Image.open(path).convert("RGB"))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), BATCH):
            chunk = files[start : start + BATCH]
            pixels = np.stack(list(pool.map(read, chunk)))
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
            model(images.sub_(0.45).div_(0.22)).argmax(dim=1)


@torch.no_grad()
def _ours(folder: Path) -> None:
    options = Options()
    dataset = options.dataset(str(folder))
    model, observer = _net(), Observer(dataset)
    for batch in options.load(dataset, "test").batches(BATCH):
        observer.add(model(batch.inputs), batch)
    observer.result()


if __name__ == "__main__":
    main()
