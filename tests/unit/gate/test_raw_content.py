"""Samples that are floats computed by a transform, as another CPU computes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from qreg.baselines.store import Store
from qreg.data import define_datasets
from qreg.data.source import DatasetSource
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.quantization.engines import default_engine
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Check, Outcome, Verdict

VALUES = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
#: What another CPU makes of the same raw content: the last bit of some floats.
EPS = {"last_bits": 1e-6}


class Waves(TorchDataset[Any]):
    def __len__(self) -> int:
        return len(VALUES)

    def __getitem__(self, index: int) -> Any:
        return VALUES[index] * (1 + EPS["last_bits"]), VALUES[index, :1]


class WithDigest(Waves):
    def digest(self, index: int) -> str:
        return f"file {index}"


def plain() -> Waves:
    return Waves()


def with_digest() -> Waves:
    return WithDigest()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def _verdict(data: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, cpu: str) -> Verdict:
    """Of a case whose baseline is from this CPU, or from another that has other last bits."""
    name = f"{__name__}:{data}"
    define_datasets([DatasetSource(name, name, task="regression")])
    case = Case(name, f"{__name__}:net", "dynamic", default_engine())
    monkeypatch.setitem(EPS, "last_bits", 0.0)
    seen = Gate(Options()).observe(case)
    assert isinstance(seen, Snapshot), seen
    environment = replace(seen.environment, cpu=cpu or seen.environment.cpu)
    approval = Approval("first", "2026-01-01T00:00:00+00:00", "", "")
    store = Store(folder)
    store.write(Baseline(replace(seen, environment=environment), (approval,)))
    monkeypatch.setitem(EPS, "last_bits", 1e-6)
    found = Judge(Gate(Options()), store, alpha=0.01).verdict(case)
    assert isinstance(found, Verdict)
    return found


def test_equal_raw_content_is_judged_statistically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _verdict("with_digest", tmp_path, monkeypatch, cpu="another")
    assert found.outcome is Outcome.PASS, found
    assert found.basis is not None
    assert not found.basis.exact


def test_without_a_digest_it_is_incomparable_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _verdict("plain", tmp_path, monkeypatch, cpu="another")
    assert [(one.check, one.outcome) for one in found.findings] == [
        (Check.IMAGES, Outcome.INCOMPARABLE)
    ]
    assert "digest(index)" in found.notes[0]


def test_in_the_same_environment_every_bit_must_be_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _verdict("with_digest", tmp_path, monkeypatch, cpu="")
    assert found.outcome is Outcome.REGRESSED
