"""Models and methods that nobody here wrote, and that are hard to measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qreg.data import get_dataset
from qreg.errors import ContractError, UnavailableError
from qreg.measure.comparison import measure
from qreg.measure.options import Options
from qreg.measure.subject import CaseSetup, prepare
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement
from qreg.report.comparison import comparison_notes

NETS = '''
import torch
from torch import nn

class View(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Linear(256, 4)
    def forward(self, x):
        x = self.relu(self.conv(x))
        return self.fc(x.view(x.size(0), -1))

class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 32), nn.Linear(4, 4)
    def forward(self, x):
        return self.fc(self.conv(x).squeeze())

class Undefined(View):
    def forward(self, x):
        return super().forward(x) / 0 * 0

class Late(View):
    def forward(self, x):
        y = super().forward(x)
        return torch.where((torch.arange(len(x)) == 30)[:, None], torch.nan, y)

def breaks(model, context):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model
        def forward(self, x):
            if len(x) > 2:
                raise ArithmeticError("too many")
            return self.model(x)
    return Broken()

def undefined(model, context):
    nn.init.constant_(model.model.fc.bias, float("nan"))
    return model

class Fusing(View):
    """As tutorials have it: without is_qat."""
    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).flatten(1))
    def fuse_model(self):
        torch.ao.quantization.fuse_modules(self, [["conv", "relu"]], inplace=True)

class OwnStubs(View):
    def __init__(self):
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.dequant = torch.ao.quantization.DeQuantStub()
    def forward(self, x):
        return self.dequant(super().forward(self.quant(x)))
'''


@pytest.fixture(autouse=True)
def _nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[None]:
    (tmp_path / "hard_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("hard_nets", None)
    torch.backends.quantized.engine = "x86"


def _measured(
    model: str, colours: Path, tmp_path: Path, *methods: str
) -> list[Measurement | Failure]:
    cases = [Case(str(colours), f"hard_nets:{model}", method, "x86") for method in methods]
    return list(measure(cases, Options(checkpoints=tmp_path)))


@pytest.mark.parametrize("model", ["View", "OwnStubs"])
def test_a_network_that_flattens_with_view_is_measured(
    model: str, colours: Path, tmp_path: Path
) -> None:
    fp32, dynamic, static = _measured(model, colours, tmp_path, "fp32", "dynamic", "static")
    assert isinstance(fp32, Measurement)
    assert isinstance(dynamic, Measurement)
    assert isinstance(static, Failure)
    assert any("contiguous" in note for note in comparison_notes([fp32, dynamic, static]))
    assert "view" in static.text
    assert "\n" not in static.text


def test_a_batch_of_one_is_tried_before_the_run(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="for 1 sample"):
        _measured("Squeezed", colours, tmp_path, "fp32")


@pytest.mark.parametrize(("model", "hit"), [("Undefined", 40), ("Late", 1)])
def test_a_reference_that_is_no_number_is_refused(
    model: str, hit: int, colours: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match=f"reference .* {hit} of 40 samples are not finite"):
        _measured(model, colours, tmp_path, "fp32")


@pytest.mark.parametrize(
    ("method", "says"), [("undefined", "40 of 40 samples"), ("breaks", "too many")]
)
def test_a_method_that_fails_leaves_the_other_rows_alone(
    method: str, says: str, colours: Path, tmp_path: Path
) -> None:
    methods = ("fp32", f"hard_nets:{method}", "dynamic")
    fp32, failed, dynamic = _measured("View", colours, tmp_path, *methods)
    assert isinstance(failed, Failure)
    assert says in failed.text
    assert isinstance(fp32, Measurement)
    assert isinstance(dynamic, Measurement)


def test_fuse_model_is_called_as_its_signature_allows(colours: Path, tmp_path: Path) -> None:
    found = _measured("Fusing", colours, tmp_path, "fp32", "static")
    assert all(isinstance(one, Measurement) for one in found)


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_model_whose_package_is_missing_is_unavailable_and_says_which(
    package: str, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hard_nets.py").write_text(f"import {package}.nothing_there\n")
    monkeypatch.setitem(sys.modules, package, None)
    setup = CaseSetup(
        get_dataset(str(colours)),
        (tmp_path,),
        lambda: pytest.fail("not asked for"),
        torch.zeros(2, 3, 32, 32),
    )
    made = prepare(Case("colours", "hard_nets:View", "fp32", "x86"), setup)
    assert isinstance(made, Failure)
    assert made.unavailable
    assert made.lacks == package
    assert package in made.hint


def test_a_users_own_missing_module_is_no_excuse(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "hard_nets.py").write_text("import torchvision_of_mine\n")
    setup = CaseSetup(
        get_dataset(str(colours)),
        (tmp_path,),
        lambda: pytest.fail("not asked for"),
        torch.zeros(2, 3, 32, 32),
    )
    made = prepare(Case("colours", "hard_nets:View", "fp32", "x86"), setup)
    assert isinstance(made, Failure)
    assert not made.unavailable
