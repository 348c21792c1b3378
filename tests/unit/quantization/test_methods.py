from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import quantized as nnq

from qreg.errors import ContractError, UnavailableError, UnknownNameError
from qreg.metrics.size import model_size
from qreg.models import MODELS, build_model
from qreg.quantization import DEFAULT_METHODS, Context, Method, get_method
from qreg.quantization.engines import ENGINES, available_engines, use_engine
from qreg.quantization.needs import check_packing

# in the default run on the first engine only: they take most of the time
_LARGE = ("resnet20", "mobilenet_v2")
NETWORKS = [
    pytest.param(model, engine, marks=pytest.mark.slow if model in _LARGE and number else ())
    for model in MODELS.names()
    for number, engine in enumerate(ENGINES)
]
INT8 = ("static", "static-per-tensor", "qat", "qat-per-tensor")


def _images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 32, 32, generator=generator)


def _calibration() -> Iterator[torch.Tensor]:
    yield _images()


@cache
@torch.no_grad()
def _reference(model: str) -> tuple[nn.Module, torch.Tensor]:
    """A float model whose BatchNorm has seen data, and its outputs; neither is changed."""
    reference = build_model(model)
    for layer in reference.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    reference.train()(_images())
    return reference.eval(), reference(_images())


@torch.no_grad()
def _made(model: str, method: str, engine: str) -> nn.Module:
    """Its quantized version, whose fake-quantizers have seen data too."""
    chosen = get_method(method)
    fresh = build_model(model)
    fresh.load_state_dict(_reference(model)[0].state_dict())
    fresh = chosen.skeleton(fresh)
    fresh.apply(ao.enable_observer)
    fresh(_images())
    fresh.apply(ao.disable_observer)
    with use_engine(engine):
        return chosen.quantize(fresh, Context(engine, _calibration)).eval()


@cache
def _on_first_engine(model: str, method: str) -> nn.Module:
    """Shared by the tests that only look at it."""
    return _made(model, method, available_engines()[0])


@pytest.mark.parametrize(("model", "engine"), NETWORKS)
@pytest.mark.parametrize("method", DEFAULT_METHODS)
@torch.no_grad()
def test_every_method_stays_near_the_float_model(model: str, method: str, engine: str) -> None:
    if engine not in available_engines():
        pytest.skip(f"this PyTorch has no engine {engine}")
    first = engine == available_engines()[0]
    quantized = _on_first_engine(model, method) if first else _made(model, method, engine)
    expected = _reference(model)[1]
    with use_engine(engine):
        found = quantized(_images())
    signal, noise = expected.pow(2).sum(), (expected - found).pow(2).sum()
    # 8 bits give over 30 dB a layer; depth and per-tensor depthwise weights take some of it
    least = 3.0 if model == "mobilenet_v2" else 15.0
    assert 10 * torch.log10(signal / noise.clamp_min(1e-30)) > least


@pytest.mark.parametrize("model", MODELS.names())
@pytest.mark.parametrize("method", INT8)
def test_all_weights_become_int8(model: str, method: str) -> None:
    quantized = _on_first_engine(model, method)
    assert model_size(quantized).float_layers == ()


@pytest.mark.parametrize("model", ["simple_cnn", "resnet20", "mobilenet_v2"])
def test_dynamic_leaves_convolutions_float(model: str) -> None:
    quantized = _on_first_engine(model, "dynamic")
    kinds = {type(module).__name__ for module in quantized.modules()}
    assert "Conv2d" in kinds
    float_layers = model_size(quantized).float_layers
    assert float_layers
    assert not any(name.startswith(("fc", "classifier")) for name in float_layers)


@pytest.mark.parametrize("method", ["static", "qat"])
@pytest.mark.parametrize("per_tensor", [False, True])
def test_weight_scales_are_per_channel_or_per_tensor(method: str, per_tensor: bool) -> None:
    name = f"{method}-per-tensor" if per_tensor else method
    quantized = _on_first_engine("simple_cnn", name)
    weight = quantized.get_submodule("conv2").weight()  # type: ignore[operator]
    per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    assert per_channel is not per_tensor


@pytest.mark.parametrize("model", ["resnet20", "mobilenet_v2"])
@pytest.mark.parametrize("method", ["static", "qat", "fp32-finetuned"])
def test_batch_norm_is_folded(model: str, method: str) -> None:
    quantized = _on_first_engine(model, method)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quantized.modules())


def test_residual_sums_are_quantized() -> None:
    quantized = _on_first_engine("resnet20", "static")
    sums = [m for m in quantized.modules() if type(m).__name__ == "QFunctional"]
    assert len(sums) == 9
    assert all(m.scale != 1.0 for m in sums)


@torch.no_grad()
def test_converting_qat_keeps_what_fake_quantization_showed() -> None:
    engine = available_engines()[0]
    method = get_method("qat")
    model = method.skeleton(build_model("simple_cnn"))
    model.apply(ao.enable_observer)
    model(_images())
    model.apply(ao.disable_observer)
    shown = model(_images())
    with use_engine(engine):
        converted = method.quantize(model, Context(engine, _calibration))
        found = converted(_images())
    step = converted.get_submodule("fc3").scale
    assert (shown - found).abs().max() <= 2 * step + 1e-6


def test_an_unknown_method_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_method("statik")
    assert "did you mean 'static'" in caught.value.hint


def users_method(model: nn.Module, context: Context) -> nn.Module:
    return model


def test_a_users_function_is_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "user_methods", sys.modules[__name__])
    found = get_method("user_methods:users_method")
    assert isinstance(found, Method)
    assert found.checkpoint == "fp32"
    with pytest.raises(ContractError, match="is a tuple"):
        get_method("user_methods:INT8")


class _Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True, bidirectional=True)
        self.gru, self.cell = nn.GRU(32, 16), nn.LSTMCell(16, 16)
        self.narrow = nn.LSTM(16, 16, proj_size=4)
        self.head = nn.Linear(16, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x, _ = self.gru(self.lstm(self.embedding(ids))[0])
        x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        found: torch.Tensor = self.head(self.cell(x)[0])
        return found


IDS = {"ids": torch.arange(24).reshape(2, 12), "mask": torch.arange(24).reshape(2, 12) < 20}


@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_dynamic_quantizes_recurrent_layers_and_counts_their_weights(engine: str) -> None:
    if engine not in available_engines():
        pytest.skip(f"no {engine}")
    torch.manual_seed(0)
    model = _Words().eval()
    before = model_size(model)
    outputs = model(**IDS)
    with use_engine(engine):
        made = get_method("dynamic").quantize(model, Context(engine, lambda: iter(()), IDS))
        found = made(**IDS)
    # what PyTorch's quantized LSTM would drop, the projection, keeps it in float
    assert {one.layer for one in model_size(made).float_weights} == {"embedding", "narrow"}
    assert {t.layer for t in model_size(made).tensors} == {t.layer for t in before.tensors}
    assert 0 < (found - outputs).abs().max() < 0.1


def test_fx_static_takes_ids_and_masks_by_name() -> None:
    torch.manual_seed(0)
    model, engine = _Masked().eval(), available_engines()[0]
    outputs = model(**IDS)
    with use_engine(engine):
        made = get_method("fx-static").quantize(model, Context(engine, lambda: iter([IDS]), IDS))
        found = made(**IDS)
    assert {one.layer for one in model_size(made).float_weights} == {"embedding"}
    assert 0 < (found - outputs).abs().max() < 0.1


class _Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.up, self.head = (
            nn.Embedding(30, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 2),
        )

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.up(self.embedding(ids))).masked_fill(~mask[..., None], 0.0)
        found: torch.Tensor = self.head(x.sum(1) / mask.sum(1, keepdim=True))
        return found


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("engine", available_engines())
def test_weights_that_an_engine_loses_are_no_result(engine: str, kernel: int) -> None:
    """PyTorch 2.14.1's x86 and fbgemm lose those of transposed convolutions of height 2."""
    with use_engine(engine):
        layer = nnq.ConvTranspose2d(16, 8, kernel)
        weight = torch.randn(16, 8, kernel, kernel, generator=torch.Generator().manual_seed(0))
        codes = torch.quantize_per_tensor(weight, 0.01, 0, torch.qint8)
        kept = set()
        for _ in range(20):  # what is read beside the weights is right by accident now and then
            layer.set_weight_bias(codes, torch.zeros(8))
            kept.add(torch.equal(layer.weight().int_repr(), codes.int_repr()))
        if kept == {True}:
            check_packing(nn.Sequential(layer), engine)
            return
        assert kernel == 2
        if kept == {True, False}:
            return
        with pytest.raises(UnavailableError, match=f"{engine} loses the weights of 0") as refused:
            check_packing(nn.Sequential(layer), engine)
        assert "kernel of 2 x 2" in str(refused.value)
