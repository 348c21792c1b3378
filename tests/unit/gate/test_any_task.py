"""Networks and data of every kind, taken through the gate: recorded, judged, broken.

Each is a `torch.utils.data.Dataset` made by code and a network trained here in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from qreg.baselines.store import Store
from qreg.data import define_datasets, inputs
from qreg.data.source import DatasetSource
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.measure.comparison import measure
from qreg.measure.options import Options
from qreg.quantization.engines import available_engines
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case
from qreg.records.detail import ViewKind
from qreg.records.measurement import Measurement
from qreg.records.verdict import Check, Outcome, Verdict
from qreg.report.gate_page import gate_page

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")
APPROVAL = Approval("first", "2026-01-01T00:00:00+00:00", "", "0.2.0")


class Made(TorchDataset[Any]):
    """Items that were made beforehand."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def _splits(make: Callable[[torch.Generator], Any]) -> dict[str, Made]:
    generator = torch.Generator().manual_seed(0)
    return {
        split: Made([make(generator) for _ in range(count)])
        for split, count in (("train", 256), ("test", 120))
    }


def _trained(model: nn.Module, data: Made, loss: Callable[[Any, Any], Any]) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = torch.utils.data.DataLoader(data, batch_size=64)
    with torch.enable_grad():
        for _ in range(8):
            for given, target in loader:
                optimizer.zero_grad()
                loss(inputs.call(model.train(), inputs.as_inputs(given)), target).backward()
                optimizer.step()
    return model.eval()


# a table
def _row(generator: torch.Generator) -> Any:
    x = torch.randn(6, generator=generator)
    return x, (x[0] * x[1] + x[2])[None]


def table() -> dict[str, Made]:
    return _splits(_row)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
    return _trained(model, table()["train"], nn.functional.mse_loss)


# text: ids and a mask, by name
def _text(generator: torch.Generator) -> Any:
    length = int(torch.randint(4, 13, (1,), generator=generator))
    ids = torch.randint(1, 30, (12,), generator=generator)
    mask = torch.arange(12) < length
    label = int((ids[:length] % 2).float().mean() > 0.5)
    return {"ids": ids * mask, "mask": mask}, label


def texts() -> dict[str, Made]:
    return _splits(_text)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.head = nn.Linear(16, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        weights = self.query(x) @ self.key(x).transpose(1, 2) / 4
        weights = weights.masked_fill(~mask[:, None], -1e9).softmax(2)
        x = (weights @ self.value(x)) * mask[..., None]
        found: torch.Tensor = self.head(x.sum(1) / mask.sum(1, keepdim=True))
        return found


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.embedding(ids))
        found: torch.Tensor = self.head((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return found


def attention() -> nn.Module:
    torch.manual_seed(0)
    return _trained(Attention(), texts()["train"], nn.functional.cross_entropy)


def recurrent() -> nn.Module:
    torch.manual_seed(0)
    return _trained(Recurrent(), texts()["train"], nn.functional.cross_entropy)


# squares on noise: their masks, and their boxes
def _square(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y, side = (int(n) for n in torch.randint(2, 7, (3,), generator=generator))
    mask = torch.zeros(16, 16, dtype=torch.long)
    mask[y : y + side, x : x + side] = 1
    image = torch.randn(1, 16, 16, generator=generator) * 0.3 + mask
    return image, mask, torch.tensor([x, y, x + side, y + side]) / 16


def masks() -> dict[str, Made]:
    return _splits(lambda g: _square(g)[:2])


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.down(image)
        found: torch.Tensor = self.last(torch.cat([x, self.up(self.deep(x))], dim=1))
        return found


def unet() -> nn.Module:
    torch.manual_seed(0)
    return _trained(UNet(), masks()["train"], nn.functional.cross_entropy)


def boxes() -> dict[str, Made]:
    return _splits(lambda g: _with_box(_square(g)))


def _with_box(found: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> Any:
    image, _, box = found
    return image, {"boxes": box[None] * 16, "labels": torch.zeros(1, dtype=torch.long)}


class Detector(nn.Module):
    """One box an image, with its score, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 32), nn.ReLU()
        )
        self.box = nn.Linear(32, 4)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes = self.box(self.body(image))[:, None] * 16
        ones = torch.ones_like(boxes[..., 0])
        return {"boxes": boxes, "scores": ones, "labels": torch.zeros_like(ones).long()}


def detector() -> nn.Module:
    torch.manual_seed(0)

    def loss(found: Any, wanted: Any) -> Any:
        return nn.functional.l1_loss(found["boxes"], wanted["boxes"])

    return _trained(Detector(), boxes()["train"], loss)


# tones in noise
def _tone(generator: torch.Generator) -> Any:
    label = int(torch.randint(0, 3, (1,), generator=generator))
    phase = float(torch.rand(1, generator=generator)) * 6.28
    wave = torch.sin(torch.arange(128) * (0.2 + 0.25 * label) + phase)
    return wave[None] + torch.randn(1, 128, generator=generator), label


def tones() -> dict[str, Made]:
    return _splits(_tone)


def audio() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 8, 9, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(240, 3))
    return _trained(model, tones()["train"], nn.functional.cross_entropy)


@dataclass(frozen=True)
class Kind:
    """A network, its data, its task, and a method that quantizes it."""

    model: str
    data: str
    task: str
    method: str
    engine: str = "x86"
    view: ViewKind = ViewKind.TEXT


KINDS = (
    Kind("mlp", "table", "regression", "static"),
    Kind("attention", "texts", "classification", "dynamic"),
    Kind("recurrent", "texts", "classification", "dynamic"),
    # x86's quantized transposed convolution gives other bits at each call without AVX512
    Kind("unet", "masks", "segmentation", "fx-static", "onednn", ViewKind.IMAGE),
    Kind("detector", "boxes", "detection", "fx-static", view=ViewKind.IMAGE),
    Kind("audio", "tones", "classification", "static", view=ViewKind.WAVE),
)


@pytest.fixture
def defined() -> Iterator[Callable[[Kind], Case]]:
    """Defines a kind's dataset as a project's table does; returns the quantized case."""

    def define(kind: Kind) -> Case:
        source = DatasetSource(f"my-{kind.data}", f"{__name__}:{kind.data}", task=kind.task)
        define_datasets([source])
        return Case(source.name, f"{__name__}:{kind.model}", kind.method, kind.engine)

    yield define
    define_datasets([])


def _recorded(case: Case, folder: Path) -> Snapshot:
    seen = Gate(Options(), full=True).observe(case)
    assert isinstance(seen, Snapshot), seen
    Store(folder).write(Baseline(seen, (APPROVAL,)))
    return seen


# Those whose networks take seconds; the default run has the others.
_LARGE = ("unet", "detector")


def _judged(case: Case, folder: Path) -> Verdict:
    verdict = Judge(Gate(Options()), Store(folder), alpha=0.01).verdict(case)
    assert isinstance(verdict, Verdict), verdict
    return verdict


@pytest.mark.parametrize(
    "kind",
    [pytest.param(x, marks=pytest.mark.slow) if x.model in _LARGE else x for x in KINDS],
    ids=lambda kind: kind.model,
)
def test_recorded_judged_and_broken(
    kind: Kind,
    defined: Callable[[Kind], Case],
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = defined(kind)
    seen = _recorded(case, tmp_path)
    assert (seen.score is None) == (kind.task == "classification")
    assert seen.draw == "stratified, seed 0"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
    verdict = _judged(case, tmp_path)
    assert verdict.outcome is Outcome.PASS, verdict.findings
    _break_head(monkeypatch)
    judge = Judge(Gate(Options()), Store(tmp_path), alpha=0.01, details=True)
    broken = judge.verdict(case)
    assert isinstance(broken, Verdict)
    assert broken.outcome is Outcome.REGRESSED
    assert {finding.check for finding in broken.findings} & {Check.LOGITS, Check.SCORE}
    detail = judge.detail(case)
    assert detail.notes == ()
    assert detail.samples
    assert {view.kind for one in detail.samples for view in one.views} == {kind.view}
    assert any(one.before != one.now for one in detail.layers)
    assert "<article" in gate_page([(broken, detail)], created="2026-11-26T00:00:00+00:00")


def _break_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last linear layer's or convolution's bias is off by a half after quantizing."""
    from qreg.measure import subject
    from qreg.quantization import get_method

    def broken(name: str) -> Any:
        method = get_method(name)

        def quantize(model: nn.Module, context: Any) -> nn.Module:
            made = method.quantize(model, context)
            layers = [m for m in made.modules() if hasattr(m, "set_weight_bias")]
            weight, bias = layers[-1]._weight_bias()
            shift = torch.zeros_like(bias)
            shift[0] = 0.5
            layers[-1].set_weight_bias(weight, nn.Parameter(bias + shift))
            return made

        return method if method.float_only else replace(method, quantize=quantize)

    monkeypatch.setattr(subject, "get_method", broken)


@pytest.mark.parametrize(
    "kind",
    [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in (KINDS[3], KINDS[4]))],
    ids=lambda kind: kind.model,
)
def test_compare_reports_the_tasks_score(
    kind: Kind, defined: Callable[[Kind], Case], own_cache: Path
) -> None:
    case = defined(kind)
    fp32, quantized = measure((replace(case, method="fp32"), case), Options())
    assert isinstance(fp32, Measurement)
    assert isinstance(quantized, Measurement), quantized
    assert quantized.accuracy is None
    assert quantized.score is not None
    ((name, change),) = quantized.score_changes
    assert name == "fp32"
    assert change.observed == pytest.approx(quantized.score.value)
    assert change.expected == pytest.approx(fp32.score.value)  # type: ignore[union-attr]
