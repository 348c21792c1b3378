"""Faults of samples of any kind, and of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.utils.data import TensorDataset

from qreg.data.objects import dataset_of_object
from qreg.faults import all_faults
from qreg.faults.families.data import _missing, _scaled
from qreg.faults.fault import NO_PLACE, Target, after
from qreg.faults.samples import ChangedSamples
from qreg.faults.surgery import change_input, every_weight
from qreg.measure.options import Options
from qreg.quantization import Context
from qreg.records.case import Case


def _samples() -> Any:
    x = torch.arange(80.0).reshape(40, 2)
    dataset = dataset_of_object("d", {"test": TensorDataset(x, x[:, :1])})
    return dataset.load("test", data_dir=None, progress=None)


def test_targets_of_others_and_inputs_of_another_scale() -> None:
    samples = _samples()
    moved = ChangedSamples.of(samples, targets_at=np.roll(np.arange(40), 1))
    batch = moved.take([3, 7]).read(np.array([0, 1]))
    assert batch.inputs[:, 0].tolist() == [6.0, 14.0]
    assert batch.targets[:, 0].tolist() == [4.0, 12.0]
    assert batch.index.tolist() == [3, 7]
    assert not set(moved.digests()) & set(samples.digests())
    scaled = _scaled(samples)
    assert torch.allclose(scaled.first(4).inputs, samples.first(4).inputs * 1.02)
    assert torch.equal(scaled.first(4).targets, samples.first(4).targets)
    assert scaled.head(5).digests() != samples.head(5).digests()
    assert ChangedSamples.of(samples).digests() == samples.digests()
    assert len(_missing(samples)) == 30


def test_what_only_images_have_is_left_out_of_other_data() -> None:
    case = Case("d", "m", "static", "x86")
    every = frozenset({"Conv2d", "ReLU"})
    images = [f for f in all_faults().values() if f.images and f.applies(case, every)]
    assert {"images-bgr", "std-x1.02", "calibration-raw"} <= {fault.name for fault in images}
    assert not any(fault.applies(case, every, images=False) for fault in images)
    others = [f for f in all_faults().values() if f.applies(case, every, images=False)]
    assert {"images-missing", "labels-shuffled-1.0%", "input-shifted"} <= {f.name for f in others}


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 4, batch_first=True)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.lstm(x)[0] * scale
        return found


@torch.no_grad()
def test_recurrent_weights_and_named_inputs_are_changed() -> None:
    torch.manual_seed(0)
    made = ao.quantize_dynamic(_Named().eval(), {nn.LSTM}, dtype=torch.qint8)
    given = {"x": torch.randn(1, 3, 2), "scale": torch.ones(1)}
    before, codes = made(**given), made.lstm.get_weight()["weight_ih_l0"].int_repr()
    every_weight(lambda codes: codes.clamp(max=100))(made)
    assert torch.equal(made.lstm.get_weight()["weight_ih_l0"].int_repr(), codes.clamp(max=100))
    assert not torch.equal(made(**given), before)
    change_input(made, lambda x: x * 0)
    assert torch.equal(made(**given), made(**{**given, "x": torch.zeros(1, 3, 2)}))


def test_a_recurrent_layer_is_left_in_float() -> None:
    from qreg.measure import subject

    target = Target(Case("d", "m", "dynamic", "x86"), Options())
    context = Context("x86", lambda: iter(()), torch.zeros(1, 3, 2))
    kinds = []
    with all_faults()["dynamic-recurrent-left-float"].inject(target):
        broken = subject.get_method("dynamic")
    for method in (broken, subject.get_method("dynamic")):
        made = method.quantize(nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 4)).eval(), context)
        kinds.append([type(one).__module__.startswith("torch.ao.nn.quantized") for one in made])
    assert kinds == [[True, False], [True, True]]


def test_a_fault_without_its_layer_says_so() -> None:
    def change(model: nn.Module) -> None:
        next(m for m in model.modules() if isinstance(m, nn.Conv3d))

    target = Target(Case("d", "m", "dynamic", "x86"), Options())
    with after(change)(target):
        from qreg.measure import subject

        broken = subject.get_method("dynamic")
        context = Context("x86", lambda: iter(()), torch.zeros(1, 2))
        with pytest.raises(RuntimeError, match=NO_PLACE):
            broken.quantize(nn.Sequential(nn.Linear(2, 2)), context)
