"""Methods that leave layers in float: their names, and the layers that are left."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

from qreg.errors import ContractError, UnavailableError, UnknownNameError
from qreg.measure.options import Options
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.metrics.size import model_size
from qreg.migrate.snippet import snippet
from qreg.quantization import METHODS, get_method, method_info
from qreg.quantization.eager import fuse, static_qconfig
from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.keeping import Keeping, canonical, keeping_name, kept_layers
from qreg.quantization.needs import need_torchao
from qreg.records.case import Case, Failure, file_part
from qreg.records.measurement import Role
from qreg.records.method import Form, Need
from qreg.settings import read_settings

OPTIONS = Options(limit=16, calibration=16)
_KEEPING = ("static-keep:conv1+fc3", "dynamic-keep:fc1")
_SLOW = (
    "qat-keep:conv2", "fx-static-keep:conv1+fc3",
    "static-per-tensor-keep:fc1", "static-auto-keep:conv2", "qat-per-tensor-keep:conv1+conv2",
    "fx-qat-keep:conv1", "pt2e-static-keep:conv2", "pt2e-qat-keep:fc1",
    "torchao-int8-dynamic-keep:fc1", "torchao-int8-weight-only-keep:fc1+fc2",
    "torchao-int4-weight-only-keep:fc1",
)  # fmt: skip


def test_a_name_says_method_and_layers() -> None:
    assert kept_layers("static-keep:conv1+fc3") == ("static", ("conv1", "fc3"), Form.FLOAT32)
    assert kept_layers("static-keep:a.b,a.b,c") == ("static", ("a.b", "c"), Form.FLOAT32)
    assert kept_layers("static-keep:a-b+c") == ("static", ("a-b", "c"), Form.FLOAT32)
    assert kept_layers("qat-keep-float16:a") == ("qat", ("a",), Form.FLOAT16)
    for name in (
        "static", "static-keep:", "nets:method", "-keep:a", "static-keep:a b",
        "static-keep-int8:a", "static-keep-float32:a",
    ):  # fmt: skip
        assert kept_layers(name) is None
    assert keeping_name("static", ("conv1", "fc3")) == "static-keep:conv1+fc3"
    assert keeping_name("static", ()) == "static"
    assert canonical("static-keep:conv1,fc3") == "static-keep:conv1+fc3"
    assert canonical("qat-keep-bfloat16:a,b") == keeping_name("qat", ("a", "b"), Form.BFLOAT16)
    assert canonical("nets:method") == "nets:method"


def test_a_table_may_separate_layers_by_commas(tmp_path: Path) -> None:
    text = '[tool.qreg]\nmodels = ["simple_cnn"]\nmethods = ["static", "static-keep:conv1,fc3"]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    settings = read_settings(tmp_path / "pyproject.toml")
    assert settings is not None
    assert settings.methods == ("static", "static-keep:conv1+fc3")


def test_facts_are_those_of_the_method() -> None:
    info = method_info("qat-keep:conv1")
    assert (info.checkpoint, info.control, info.quantizes) == ("qat", "fp32-finetuned", True)
    assert not info.default
    assert info.replaces == ""
    assert METHODS.knows("pt2e-static-keep:conv1")
    assert not METHODS.knows("none-keep:conv1")


def test_what_cannot_be_left_in_float_is_said() -> None:
    with pytest.raises(ContractError, match="can leave no layer in float"):
        get_method("fp32-keep:conv1")
    with pytest.raises(UnknownNameError, match="conv9") as caught:
        _subject("static-keep:conv9")
    assert "conv" in caught.value.hint


def test_a_long_list_is_a_file_name_that_a_file_system_takes() -> None:
    layers = [f"features.{number}.conv.0.0" for number in range(31)]
    names = [keeping_name("static", layers[:many]) for many in (30, 31)]
    parts = [file_part(name) for name in names]
    assert all(len(part) <= 140 for part in parts)
    assert parts[0] != parts[1]
    assert file_part("static-keep:conv1+fc3") == "static-keep.conv1+fc3"


def _kept(method: str) -> Keeping:
    found = kept_layers(method)
    assert found is not None
    return found


def _subject(method: str) -> Subject:
    if METHODS.info(method).requires:
        try:
            need_torchao()
        except UnavailableError as error:
            pytest.skip(str(error))
    dataset = OPTIONS.dataset("shapes10")
    test = OPTIONS.load(dataset, "test").head(OPTIONS.limit)
    setup = case_setup(dataset, test, OPTIONS)
    made = prepare(Case("shapes10", "simple_cnn", method, default_engine()), setup)
    assert not isinstance(made, Failure), made.reason
    return made


@pytest.mark.parametrize(
    "method", [*_KEEPING, *(pytest.param(name, marks=pytest.mark.slow) for name in _SLOW)]
)
def test_the_named_layers_stay_float_and_the_others_do_not(method: str) -> None:
    base, layers, _ = _kept(method)
    kept, whole = model_size(_subject(method).model), model_size(_subject(base).model)
    assert set(kept.float_layers) - set(whole.float_layers) == set(layers)


def test_every_registered_method_with_layers_can_leave_some_in_float() -> None:
    tested = {name.partition("-keep:")[0] for name in (*_KEEPING, *_SLOW)}
    quantizing = {
        info.name
        for info in METHODS.facts()
        if info.quantizes and Need.ONNXRUNTIME not in info.requires
    }
    assert {name for name in quantizing if get_method(name).keep} == quantizing
    assert quantizing - tested == {i.name for i in METHODS.facts() if i.compiled}


@torch.no_grad()
def test_between_layers_in_float_nothing_is_rounded() -> None:
    """An activation is float where its layer and all that read it are; pooling passes it on."""
    subject, plain = _subject("static-keep:conv1+conv2"), _subject("static")
    kept = dict(subject.model.named_modules())
    assert isinstance(kept["quant"], nn.Identity)
    assert isinstance(kept["conv1.quant"], nn.Identity)
    stub, before = kept["conv2.quant"], dict(plain.model.named_modules())["conv2"]
    assert float(stub.scale) == pytest.approx(float(before.scale))  # the range that was calibrated


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.sum = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x: torch.Tensor) -> Any:
        y = self.first(self.quant(x))
        return self.dequant(self.sum.add_relu(y, self.second(y)))


@torch.no_grad()
def test_with_all_in_float_the_model_is_the_float_model() -> None:
    """The code that `qreg recover` prints, executed as it is printed."""
    torch.manual_seed(0)
    model, batch, engine = _Residual().eval(), torch.randn(32, 8), default_engine()
    text = snippet(get_method("static-keep:first").recipe)
    assert "qreg" not in text
    names: dict[str, Any] = {}
    exec(compile(text, "shown", "exec"), names)
    quantize = names["quantize_eager_static_keeping"]
    qconfig = static_qconfig(engine, "per_channel")
    with use_engine(engine):
        made = quantize(fuse(copy.deepcopy(model)), qconfig, [batch], ("first", "second", "sum"))
        assert torch.equal(made(batch), model(batch))
        made = quantize(fuse(copy.deepcopy(model)), qconfig, [batch], ("second", "sum"))
        assert not torch.equal(made(batch), model(batch))
        # the first layer's output is read by two that are in float, but an int8 kernel writes it
        assert made.first.scale != 1
        assert torch.allclose(made(batch), model(batch), atol=0.1)


@torch.no_grad()
@pytest.mark.parametrize(
    "method",
    [
        "static-keep-bfloat16:conv2+fc1",
        pytest.param("qat-keep-float16:conv1", marks=pytest.mark.slow),
        pytest.param("dynamic-keep-bfloat16:fc1", marks=pytest.mark.slow),
        pytest.param("fx-static-keep-bfloat16:conv1+fc3", marks=pytest.mark.slow),
        pytest.param("torchao-int8-weight-only-keep-bfloat16:fc1", marks=pytest.mark.slow),
    ],
)
def test_kept_layers_store_and_compute_at_16_bits(method: str) -> None:
    base, layers, form = _kept(method)
    half, plain = _subject(method), _subject(keeping_name(base, layers))
    sizes = {one.layer: one for one in model_size(half.model).tensors if one.role is Role.WEIGHT}
    whole = {one.layer: one for one in model_size(plain.model).tensors if one.role is Role.WEIGHT}
    assert {name for name, one in sizes.items() if one.dtype == form.value} == set(layers)
    for name, one in sizes.items():
        assert whole[name].bytes == one.bytes * (2 if name in layers else 1)
    assert model_size(half.model).float_layers == model_size(plain.model).float_layers
    inputs = OPTIONS.load(OPTIONS.dataset("shapes10"), "test").first(16).inputs
    with use_engine(half.case.engine):
        observed, expected = half.run(inputs), plain.run(inputs)
    assert observed.dtype == torch.float32
    assert not torch.equal(observed, expected)
    # a unit in the last place of bfloat16 is 1/256, and what follows is quantized
    assert (observed - expected).square().mean() < 0.01 * expected.square().mean()


def test_layers_of_an_exported_graph_cannot_be_at_16_bits() -> None:
    with pytest.raises(ContractError, match="operators of an exported graph") as caught:
        get_method("pt2e-static-keep-bfloat16:conv1")
    assert "pt2e-static-keep:conv1" in caught.value.hint


def _layers_of(method: str) -> tuple[str, ...]:
    return _kept(method).layers


@torch.no_grad()
@pytest.mark.parametrize(
    "method",
    [
        "static-keep:conv1+fc3",
        "static-keep-bfloat16:conv1+fc3",
        "dynamic-keep:fc1",
        pytest.param("fx-static-keep:conv1", marks=pytest.mark.slow),
    ],
)
def test_the_code_as_shown_gives_the_methods_logits(method: str) -> None:
    subject = _subject(method)
    names: dict[str, Any] = {}
    exec(compile(snippet(subject.method.recipe), "shown", "exec"), names)
    quantize, *at_16_bits = (names[function.__name__] for function in subject.method.recipe)
    dataset = OPTIONS.dataset("shapes10")
    test = OPTIONS.load(dataset, "test").head(OPTIONS.limit)
    calibration = [b.inputs for b in case_setup(dataset, test, OPTIONS).calibration().batches(64)]
    source, layers = copy.deepcopy(subject.source).eval(), _layers_of(method)
    qconfig = static_qconfig(subject.case.engine, "per_channel")
    images = test.first(16).inputs
    base, _, form = _kept(method)
    with use_engine(subject.case.engine):
        given = {
            "static": [fuse(copy.deepcopy(source)), qconfig, calibration, layers],
            "fx-static": [source, qconfig, calibration, layers],
            "dynamic": [source, layers],
        }[base]
        made = quantize(*given)
        for function in at_16_bits:
            made = function(made, layers, getattr(torch, form.value))
        assert torch.equal(made(images), subject.run(images))
