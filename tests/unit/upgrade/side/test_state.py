"""States that are carried, and outputs that are kept, come back as they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.upgrade.reading import read_outputs, read_state
from qreg.upgrade.side.outputs import write_outputs
from qreg.upgrade.side.state import load_state, save_state
from tests.unit.metrics import nets

MODELS: dict[str, Callable[[], nn.Module]] = {
    "float": nets.source,
    "dynamic": nets.dynamic,
    "per channel": nets.static,
    "per tensor": lambda: nets.static("per_tensor"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_the_same_from_a_carried_state(name: str, tmp_path: Path) -> None:
    model, images = MODELS[name](), nets.images()
    with torch.no_grad():
        expected = model(images)
        save_state(tmp_path / "state", model.state_dict())
        other = MODELS[name]()
        for parameter in other.parameters():
            parameter.zero_()
        other.load_state_dict(load_state(tmp_path / "state", other.state_dict()))
        assert torch.equal(other(images), expected)


def test_every_kind_of_value(tmp_path: Path) -> None:
    channels = torch.quantize_per_channel(
        torch.randn(3, 2), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1, -2, 3]), 0, torch.qint8
    )
    single = torch.quantize_per_tensor(torch.randn(4), 0.1234567890123, 5, torch.quint8)
    state = OrderedDict(
        packed=(channels, None), one=single, kind=torch.qint8, number=3, same=torch.ones(2)
    )
    state["again"] = state["same"]
    save_state(tmp_path / "state", state)
    found = load_state(tmp_path / "state", {})
    assert list(found) == list(state)
    assert torch.equal(found["packed"][0].int_repr(), channels.int_repr())
    assert torch.equal(found["packed"][0].q_per_channel_scales(), channels.q_per_channel_scales())
    assert found["packed"][0].q_per_channel_zero_points().tolist() == [1, -2, 3]
    assert found["packed"][1] is None
    assert (found["one"].q_scale(), found["one"].q_zero_point()) == (0.1234567890123, 5)
    assert (found["kind"], found["number"]) == (torch.qint8, 3)
    assert torch.equal(found["again"], state["same"])


def test_a_state_is_read_without_torch_scales_first(tmp_path: Path) -> None:
    model = nets.static()
    save_state(tmp_path / "state", model.state_dict())
    found = dict(read_state(tmp_path / "state"))
    of_conv = [what for layer, what in found if layer == "conv"]
    assert of_conv[:3] == ["weight scale", "weight zero point", "weight codes"]
    weight = model.conv.weight()  # type: ignore[operator,union-attr]
    assert np.array_equal(found["conv", "weight codes"], weight.int_repr().numpy())
    assert np.array_equal(found["conv", "weight scale"], weight.q_per_channel_scales().numpy())
    assert ("fc", "weight codes") in found
    assert ("fc", "bias") in found
    assert found["conv", "scale"] == model.conv.scale  # type: ignore[union-attr]


def test_outputs_keep_their_order_and_codes(tmp_path: Path) -> None:
    model, images = nets.static(), nets.images()
    with torch.no_grad():
        logits = model(images).numpy()
    write_outputs(tmp_path / "outputs", model, model, images, logits=logits)
    layers, found = read_outputs(tmp_path / "outputs")
    names = [layer for layer, _ in layers]
    assert names.index("conv") < names.index("again") < names.index("fc")
    assert "again#2" in names
    assert layers["conv", "output"].dtype == np.uint8
    assert np.array_equal(found, logits)


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.cell = (
            nn.LSTM(4, 8, batch_first=True, bidirectional=True),
            nn.GRUCell(16, 4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.cell(self.lstm(x)[0][:, -1])
        return found


@torch.no_grad()
def test_packed_recurrent_layers_are_carried(tmp_path: Path) -> None:
    """Their state dict holds objects of PyTorch's own, which no file of tensors takes."""
    x, made = torch.randn(2, 5, 4), []
    for seed in range(2):
        torch.manual_seed(seed)
        kinds = {nn.LSTM, nn.GRUCell}
        made.append(ao.quantize_dynamic(_Recurrent().eval(), kinds, dtype=torch.qint8))
    one, other = made
    assert not torch.equal(one(x), other(x))
    save_state(tmp_path / "state", one.state_dict())
    other.load_state_dict(load_state(tmp_path / "state", other.state_dict()))
    assert torch.equal(one(x), other(x))


@torch.no_grad()
def test_a_tensor_subclass_is_filled_into_one_of_this_version(tmp_path: Path) -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    made: Any = TwoTensor(torch.rand(3, 2), torch.rand(3, 2))
    own: Any = TwoTensor(torch.zeros(3, 2), torch.zeros(3, 2))
    save_state(tmp_path / "state", {"weight": made})
    found = load_state(tmp_path / "state", {"weight": own})["weight"]
    assert isinstance(found, TwoTensor)
    assert torch.equal(found.a, made.a)
    assert torch.equal(found.b, made.b)
    assert not own.a.any()
    with pytest.raises(ValueError, match="weight consists of a, b there, of itself here"):
        load_state(tmp_path / "state", {"weight": torch.zeros(3, 2)})
    smaller: Any = TwoTensor(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"weight\.a is torch\.float32 \(3, 2\) there, .* \(3,\)"):
        load_state(tmp_path / "state", {"weight": smaller})


@torch.no_grad()
@pytest.mark.parametrize("name", ["int8-weight-only", "int8-dynamic", "int4-weight-only"])
def test_torchaos_weights_are_carried(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    from qreg.quantization import Context, get_method

    x, made = torch.rand(4, 32), []
    for seed in range(2):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(32, 8))
        context = Context("x86", lambda: iter([x]), x)
        made.append(get_method(f"torchao-{name}").quantize(net.eval(), context))
    one, other = made
    assert not torch.equal(one(x), other(x))
    save_state(tmp_path / "state", one.state_dict())
    other.load_state_dict(load_state(tmp_path / "state", other.state_dict()))
    assert torch.equal(one(x), other(x))


def test_a_sparse_tensor_is_one_again(tmp_path: Path) -> None:
    own = {"adjacency": torch.eye(3).to_sparse()}
    save_state(tmp_path / "state", own)
    found = load_state(tmp_path / "state", own)
    assert found["adjacency"].layout is torch.sparse_coo
    assert torch.equal(found["adjacency"].to_dense(), torch.eye(3))
