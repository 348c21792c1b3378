"""How far real-valued scores move between clean environments: docs/evidence/scores.md.

    python tests/evidence/clean_scores.py [--nets 3]

Trains small networks that segment shapes and regress their place, then quantizes and scores each
in a fresh process for every setting of `qreg.faults.settings` that makes another CPU of this
one. Prints, in Markdown, the change of each summary as a share of the standard deviation of a
sample's score, which `qreg.checks.tolerances` must exceed, and the verdicts with and without that
tolerance. Some minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from qreg.checks.score import judge_score, score_change
from qreg.checks.tolerances import OTHER_FLOAT, SAME_FLOAT
from qreg.data.shape_masks import disk, frame, inside, plus
from qreg.faults.settings import SETTINGS, Setting
from qreg.records.score import Score
from qreg.stats.holm import family_alpha
from qreg.stats.permutation import spread_of_a_sample
from qreg.tasks import Scores, Task, get_task

SIDE, TRAIN, TEST, BATCH = 24, 1000, 1000, 100
ENGINES = ("x86", "qnnpack")
# threads change no bit: docs/evidence/clean-runs.md
CPUS = [setting for setting in SETTINGS if setting.limits]
ALPHA = family_alpha(10)
MASKS = (inside, disk, frame, plus)


class Segmenter(nn.Module):
    """An encoder and a decoder with one skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.last = nn.Conv2d(24, len(MASKS) + 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.down1(x)
        return self.last(torch.cat([fine, self.up(self.down2(fine))], dim=1))


class Locator(nn.Module):
    """Middle and radius of the shape, in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(24, 24, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(24 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def samples(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (N, 3, H, W), classes of pixels (N, H, W), middle and radius (N, 3)."""
    rng = np.random.default_rng(seed)
    middle, radius = rng.integers(8, SIDE - 8, size=(count, 2)), rng.integers(3, 7, size=count)
    kind = rng.integers(0, len(MASKS), size=count)
    place = np.arange(SIDE)
    u = (place[None, None, :] - middle[:, 0, None, None]) * 16 + np.zeros((1, SIDE, 1), np.int64)
    v = (place[None, :, None] - middle[:, 1, None, None]) * 16 + np.zeros((1, 1, SIDE), np.int64)
    r = radius[:, None, None] * 16
    masks = np.stack([mask(u, v, r) for mask in MASKS])[kind, np.arange(count)]
    color = rng.random((2, count, 3, 1, 1))
    images = (
        np.where(masks[:, None], color[0], color[1])
        + rng.normal(size=(count, 3, SIDE, SIDE)) * 0.15
    )
    return (
        torch.tensor(images, dtype=torch.float32),
        torch.tensor(np.where(masks, kind[:, None, None] + 1, 0)),
        torch.tensor(np.column_stack([middle, radius]), dtype=torch.float32),
    )


def train(made: nn.Module, seed: int) -> None:
    """A few epochs: good enough that scores spread."""
    images, classes, places = samples(seed, TRAIN)
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    for epoch in range(8):
        order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            out = made(images[rows])
            if isinstance(made, Segmenter):
                loss = functional.cross_entropy(out, classes[rows])
            else:
                loss = functional.smooth_l1_loss(out, places[rows])
            loss.backward()
            optimizer.step()


def quantized(made: nn.Module, images: torch.Tensor, engine: str) -> nn.Module:
    """The network by FX, calibrated on the images."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = engine
    prepared = prepare_fx(made.eval(), get_default_qconfig_mapping(engine), (images[:1],))
    for batch in images.split(BATCH):
        prepared(batch)
    return convert_fx(prepared)


def tasks(made: nn.Module) -> tuple[Task, ...]:
    """What the outputs of a network are scored by."""
    own = ("segmentation",) if isinstance(made, Segmenter) else ("regression", "regression-rmse")
    return tuple(map(get_task, (*own, "embedding", "agreement")))


@torch.no_grad()
def child(folder: Path, nets: int, engine: str, threads: int, out: Path) -> None:
    """Quantize and score all networks, and write values and rows of each task."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads or 1)
    found: dict[str, npt.NDArray[np.float64]] = {}
    for seed in range(nets):
        data, calibration = samples(10_000 + seed, TEST), samples(seed, 512)[0]
        for made in (Segmenter(), Locator()):
            made.load_state_dict(torch.load(folder / f"{type(made).__name__}{seed}.pt"))
            int8 = quantized(made, calibration, engine)
            for task in tasks(made):
                joined = scored(task, made, int8, data)
                key = f"{type(made).__name__}/{task.name}/{seed}"
                found[f"{key}/values"] = joined.values
                if joined.rows is not None:
                    found[f"{key}/rows"] = joined.rows
    np.savez(out, **found)


def scored(task: Task, made: nn.Module, int8: nn.Module, data: tuple[torch.Tensor, ...]) -> Scores:
    """The scores of the quantized network on the test images."""
    images, targets = data[0], data[1 if isinstance(made, Segmenter) else 2]
    parts = []
    for rows in torch.arange(TEST).split(BATCH):
        outputs, reference = int8(images[rows]), made(images[rows])
        given = reference if task.against_reference else targets[rows]
        if task.name == "embedding":
            outputs, given = outputs.flatten(1), given.flatten(1)
        parts.append(task.observe(outputs, given, count=len(rows)))
    return Scores.join(parts)


def run(folder: Path, nets: int, engine: str, setting: Setting) -> dict[str, list[Score]]:
    """The scores of all networks in a fresh process, by network and task."""
    out = folder / "out.npz"
    limits = dict(one.split("=", 1) for one in setting.limits)
    command = [sys.executable, __file__, "--child", str(folder), str(nets), engine]
    subprocess.run(
        [*command, str(setting.threads), str(out)], check=True, env={**os.environ, **limits}
    )
    found, scores = np.load(out), {}
    for name in sorted({"/".join(key.split("/")[:2]) for key in found.files}):
        task = get_task(name.partition("/")[2])
        keys = [f"{name}/{seed}" for seed in range(nets)]
        scores[name] = [
            task.record(Scores(found[f"{key}/values"], found.get(f"{key}/rows")), range(TEST))
            for key in keys
        ]
    return scores


def judged(now: Score, before: Score, tolerance: float) -> tuple[str, float]:
    """The outcome, and the change as a share of the standard deviation of a sample's score."""
    task = get_task(now.task)
    whole = task.summary.of if task.summary.set_level else None
    change = score_change(now, before, alpha=ALPHA, tolerance=tolerance, summarize=whole)
    outcomes = [one.outcome.value for one in judge_score(change, alpha=ALPHA)] or ["PASS"]
    rows = np.array(before.rows or [(value,) for value in before.values])
    return outcomes[0], abs(change.change) / spread_of_a_sample(rows, task.summary.of)


def table(folder: Path, nets: int) -> Iterator[str]:
    """A row a setting, task and engine: of all networks the largest change."""
    yield "| setting | engine | score | nets | largest change | without tolerance | with it |"
    yield "|---|---|---|---:|---:|---|---|"
    for engine in ENGINES:
        first = run(folder, nets, engine, SETTINGS[0])
        for setting in CPUS:
            again = run(folder, nets, engine, setting)
            same = "ATEN_CPU_CAPABILITY" not in " ".join(setting.limits)
            tolerance = (SAME_FLOAT if same else OTHER_FLOAT).score
            for name, scores in first.items():
                pairs = list(zip(again[name], scores, strict=True))
                bare = [judged(now, before, 0.0) for now, before in pairs]
                within = [judged(now, before, tolerance)[0] for now, before in pairs]
                largest = max(change for _, change in bare)
                yield (
                    f"| {setting.name} | {engine} | {name} | {nets} | {largest:.4f} | "
                    f"{_counted([outcome for outcome, _ in bare])} | {_counted(within)} |"
                )


def _counted(outcomes: list[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(outcomes).most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="of trained networks, kept for the next run")
    parser.add_argument("--child", nargs=5, metavar=("FOLDER", "NETS", "ENGINE", "THREADS", "OUT"))
    given = parser.parse_args()
    if given.child:
        folder, nets, engine, threads, out = given.child
        child(Path(folder), int(nets), engine, int(threads), Path(out))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        for seed in range(given.nets):
            for kind in (Segmenter, Locator):
                file = folder / f"{kind.__name__}{seed}.pt"
                if not file.exists():
                    torch.manual_seed(seed)
                    made = kind()
                    train(made, seed)
                    torch.save(made.state_dict(), file)
        for line in table(folder, given.nets):
            print(line, flush=True)


if __name__ == "__main__":
    main()
