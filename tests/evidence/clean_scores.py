"""How far real-valued scores move between clean environments: docs/evidence/scores.md.

    python tests/evidence/clean_scores.py [--nets 3] [--kinds Finder,Reader]

Trains small networks that segment shapes, regress their place, find them (mAP) and read words in
noise (word error rate), then quantizes and scores each
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
from typing import Any

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
from qreg.tasks import Scores, Summary, Task, get_task
from qreg.tasks.summaries import ratio_of_sums

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


class Finder(Locator):
    """One box with its kind: a dict, as detectors return it, with the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = nn.Linear(24 * 9, len(MASKS))

    def forward(self, x: torch.Tensor) -> Any:
        seen = self.body(x)
        place, logits = self.head(seen) * 6 + 10, self.kind(seen)
        middle, radius = place[:, :2], place[:, 2:]
        scores, labels = logits.softmax(1).max(1, keepdim=True)
        boxes = torch.cat([middle - radius, middle + radius], dim=1)[:, None]
        return {"boxes": boxes, "scores": scores, "labels": labels, "logits": logits}


class Reader(nn.Module):
    """Logits of each word (N, V, T), of sounds (N, 1, 8 T)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 24, 8, stride=8), nn.ReLU(), nn.Conv1d(24, 24, 3, padding=1), nn.ReLU(),
            nn.Conv1d(24, WORDS, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


WORDS, LENGTH = 12, 16


def sounds(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sounds (N, 1, 8 T), and words (N, T), of 3 to T a sample, -1 after the last one."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(WORDS, 8))
    words = rng.integers(0, WORDS, size=(count, LENGTH))
    noise = rng.normal(size=(count, LENGTH, 8)) * 0.7
    words_of = rng.integers(3, LENGTH + 1, size=(count, 1))
    given = (patterns[words] + noise).reshape(count, 1, -1)
    words[np.arange(LENGTH) >= words_of] = -1
    return torch.tensor(given, dtype=torch.float32), torch.tensor(words)


def _word_rows(outputs: Any, targets: Any) -> torch.Tensor:
    """Minus wrong words, and words (N, 2): of which more is better."""
    there = targets >= 0
    wrong = (outputs.argmax(1) != targets) & there
    return torch.stack([-wrong.sum(1), there.sum(1)], dim=1).double()


def _words_right(outputs: Any, targets: Any) -> torch.Tensor:
    rows = _word_rows(outputs, targets)
    return 1 + rows[:, 0] / rows[:, 1]


WORD_ERRORS = Task(
    name="word-error-rate",
    score=_words_right,
    score_name="words right",
    span=1.0,
    summary=Summary("minus word error rate", "%", of=ratio_of_sums, set_level=True),
    statistics=_word_rows,
)


def task_of(name: str) -> Task:
    """A shipped task, or that of the readers."""
    return WORD_ERRORS if name == WORD_ERRORS.name else get_task(name)


def samples(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (N, 3, H, W), classes of pixels (N, H, W), middle, radius and kind (N, 4)."""
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
        torch.tensor(np.column_stack([middle, radius, kind]), dtype=torch.float32),
    )


def data_of(made: nn.Module, seed: int, count: int) -> tuple[torch.Tensor, Any]:
    """Inputs and targets of a kind of network."""
    if isinstance(made, Reader):
        return sounds(seed, count)
    images, classes, places = samples(seed, count)
    if isinstance(made, Segmenter):
        return images, classes
    return images, (places if isinstance(made, Finder) else places[:, :3])


def targets_of(made: nn.Module, targets: torch.Tensor) -> Any:
    """Targets as the task takes them."""
    if not isinstance(made, Finder):
        return targets
    middle, radius = targets[:, :2], targets[:, 2:3]
    boxes = torch.cat([middle - radius, middle + radius], dim=1)[:, None]
    return {"boxes": boxes, "labels": targets[:, 3:].long()}


def loss_of(made: nn.Module, out: Any, targets: torch.Tensor) -> torch.Tensor:
    """What is minimized."""
    if isinstance(made, Segmenter):
        return functional.cross_entropy(out, targets)
    if isinstance(made, Reader):
        return functional.cross_entropy(out, targets, ignore_index=-1)
    if isinstance(made, Finder):
        boxes = functional.smooth_l1_loss(out["boxes"], targets_of(made, targets)["boxes"])
        return boxes + functional.cross_entropy(out["logits"], targets[:, 3].long())
    return functional.smooth_l1_loss(out, targets)


def train(made: nn.Module, seed: int) -> None:
    """A few epochs, of boxes more and on more: good enough that scores spread."""
    boxes = isinstance(made, Finder)
    count = 5 * TRAIN if boxes else TRAIN
    given, targets = data_of(made, seed, count)
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    for epoch in range(16 if boxes else 8):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            loss_of(made, made(given[rows]), targets[rows]).backward()
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
    own = {
        Segmenter: ("segmentation", "embedding", "agreement"),
        Locator: ("regression", "regression-rmse", "embedding", "agreement"),
        Finder: ("detection",),
        Reader: (WORD_ERRORS.name,),
    }
    return tuple(map(task_of, own[type(made)]))


KINDS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (Segmenter, Locator, Finder, Reader)
}


@torch.no_grad()
def child(folder: Path, nets: int, kinds: str, engine: str, threads: int, out: Path) -> None:
    """Quantize and score all networks, and write values and rows of each task."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads or 1)
    found: dict[str, npt.NDArray[np.float64]] = {}
    for seed in range(nets):
        for kind in kinds.split(","):
            made = KINDS[kind]()
            made.load_state_dict(torch.load(folder / f"{kind}{seed}.pt"))
            int8 = quantized(made, data_of(made, seed, 512)[0], engine)
            data = data_of(made, 10_000 + seed, TEST)
            for task in tasks(made):
                joined = scored(task, made, int8, data)
                key = f"{kind}/{task.name}/{seed}"
                found[f"{key}/values"] = joined.values
                if joined.rows is not None:
                    found[f"{key}/rows"] = joined.rows
    np.savez(out, **found)


def scored(task: Task, made: nn.Module, int8: nn.Module, data: tuple[torch.Tensor, Any]) -> Scores:
    """The scores of the quantized network on the test samples."""
    given, targets = data
    parts = []
    for rows in torch.arange(TEST).split(BATCH):
        outputs = int8(given[rows])
        wanted = made(given[rows]) if task.against_reference else targets_of(made, targets[rows])
        if task.name == "embedding":
            outputs, wanted = outputs.flatten(1), wanted.flatten(1)
        parts.append(task.observe(outputs, wanted, count=len(rows)))
    return Scores.join(parts)


def run(
    folder: Path, nets: int, kinds: str, engine: str, setting: Setting
) -> dict[str, list[Score]]:
    """The scores of all networks in a fresh process, by network and task."""
    out = folder / "out.npz"
    limits = dict(one.split("=", 1) for one in setting.limits)
    command = [sys.executable, __file__, "--child", str(folder), str(nets), kinds, engine]
    subprocess.run(
        [*command, str(setting.threads), str(out)], check=True, env={**os.environ, **limits}
    )
    found, scores = np.load(out), {}
    for name in sorted({"/".join(key.split("/")[:2]) for key in found.files}):
        task = task_of(name.partition("/")[2])
        keys = [f"{name}/{seed}" for seed in range(nets)]
        scores[name] = [
            task.record(Scores(found[f"{key}/values"], found.get(f"{key}/rows")), range(TEST))
            for key in keys
        ]
    return scores


def judged(now: Score, before: Score, tolerance: float) -> tuple[str, float]:
    """The outcome, and the change as a share of the standard deviation of a sample's score."""
    task = task_of(now.task)
    whole = task.summary.of if task.summary.set_level else None
    change = score_change(now, before, alpha=ALPHA, tolerance=tolerance, summarize=whole)
    outcomes = [one.outcome.value for one in judge_score(change, alpha=ALPHA)] or ["PASS"]
    rows = np.array(before.rows or [(value,) for value in before.values])
    return outcomes[0], abs(change.change) / spread_of_a_sample(rows, task.summary.of)


def table(folder: Path, nets: int, kinds: str) -> Iterator[str]:
    """A row a setting, task and engine: of all networks the largest change."""
    yield "| setting | engine | score | nets | largest change | without tolerance | with it |"
    yield "|---|---|---|---:|---:|---|---|"
    for engine in ENGINES:
        first = run(folder, nets, kinds, engine, SETTINGS[0])
        for setting in CPUS:
            again = run(folder, nets, kinds, engine, setting)
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
    parser.add_argument("--kinds", default=",".join(KINDS), help="of networks")
    parser.add_argument(
        "--child", nargs=6, metavar=("FOLDER", "NETS", "KINDS", "ENGINE", "THREADS", "OUT")
    )
    given = parser.parse_args()
    if given.child:
        folder, nets, kinds, engine, threads, out = given.child
        child(Path(folder), int(nets), kinds, engine, int(threads), Path(out))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(given.nets):
            for kind in given.kinds.split(","):
                file = folder / f"{kind}{seed}.pt"
                if not file.exists():
                    torch.manual_seed(seed)
                    made = KINDS[kind]()
                    train(made, seed)
                    torch.save(made.state_dict(), file)
        for line in table(folder, given.nets, given.kinds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
