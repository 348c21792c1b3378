"""The successors of eager quantization, on a trained network and real test images."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from qreg.data.batches import batches
from qreg.measure.options import Options
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.metrics.layers import layer_numerics
from qreg.metrics.size import model_size
from qreg.quantization.engines import available_engines
from qreg.quantization.fx_graph import quantize_fx_static
from qreg.quantization.transfer import trained_float, transfer_ranges
from qreg.records.case import Case, Failure
from qreg.records.numerics import Layer, Quantizer

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")
OPTIONS = Options(limit=200)
SUCCESSORS = (
    "fx-static",
    "fx-qat",
    "pt2e-static",
    "pt2e-qat",
    "torchao-int8-dynamic",
    "torchao-int8-weight-only",
)
# Of 200 predictions, those that may differ from the same network's in float: eager static and
# QAT move up to 2 % of shapes10's, and a misplaced scale far more.
MOST_FLIPS = 10


@cache
def _images() -> torch.Tensor:
    dataset = OPTIONS.dataset("shapes10")
    test = OPTIONS.load(dataset, "test").head(OPTIONS.limit)
    return next(batches(test, dataset, size=OPTIONS.limit))


@cache
def _made(model: str, method: str, engine: str = "x86") -> Subject | Failure:
    dataset = OPTIONS.dataset("shapes10")
    test = OPTIONS.load(dataset, "test").head(2)
    return prepare(Case("shapes10", model, method, engine), case_setup(dataset, test, OPTIONS))


def _subject(model: str, method: str) -> Subject:
    made = _made(model, method)
    if isinstance(made, Failure) and made.unavailable:
        pytest.skip(made.reason)
    assert isinstance(made, Subject), made
    return made


@torch.no_grad()
def _logits(subject: Subject) -> torch.Tensor:
    before = torch.backends.quantized.engine
    try:
        return subject.run(_images())
    finally:
        torch.backends.quantized.engine = before


def _layers(subject: Subject) -> dict[str, Layer]:
    source = copy.deepcopy(subject.source)
    found = layer_numerics(subject.model, subject.model, source, _images()[:8])
    return {layer.name: layer for layer in found}


@pytest.mark.slow
@pytest.mark.parametrize("method", SUCCESSORS)
def test_a_successor_predicts_what_the_float_network_does(method: str) -> None:
    control = "fp32-finetuned" if method.endswith("qat") else "fp32"
    expected = _logits(_subject("simple_cnn", control)).argmax(1)
    found = _logits(_subject("simple_cnn", method)).argmax(1)
    assert int((expected != found).sum()) <= MOST_FLIPS


@pytest.mark.parametrize("method", SUCCESSORS)
def test_int8_weights_are_counted_as_such(method: str) -> None:
    subject = _subject("simple_cnn", method)
    size, before = model_size(subject.model), model_size(_subject("simple_cnn", "fp32").model)
    linear = {
        t.layer: t for t in size.tensors if t.role.value == "weight" and t.layer.startswith("fc")
    }
    assert sorted(linear) == ["fc1", "fc2", "fc3"]
    assert all(t.bytes == t.elements for t in linear.values())
    convolutions = ("conv1", "conv2", "conv3") if method.startswith("torchao") else ()
    assert size.float_layers == convolutions
    assert size.file_bytes < 0.4 * before.file_bytes
    assert size.weight_bytes < size.file_bytes


@pytest.mark.parametrize("method", SUCCESSORS)
def test_any_number_of_images_and_eval_are_accepted(method: str) -> None:
    subject = _subject("simple_cnn", method)
    whole = _logits(subject)
    with torch.no_grad():
        alone = torch.cat([subject.model.eval()(image) for image in _images()[:4].split(1)])
    assert (alone.argmax(1) == whole[:4].argmax(1)).all()


@pytest.mark.parametrize(
    "model",
    [
        "simple_cnn",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("resnet20", "mobilenet_v2")),
    ],
)
def test_fx_qat_is_eager_qat_bit_by_bit(model: str) -> None:
    eager, graph = _subject(model, "qat"), _subject(model, "fx-qat")
    assert torch.equal(_logits(eager), _logits(graph))
    before, after = _layers(eager), _layers(graph)
    shared = [name for name in after if name in before]
    assert len(shared) >= len(before) // 2
    for name in shared:
        assert (after[name].weight, after[name].output) == (
            before[name].weight,
            before[name].output,
        )
        assert after[name].weight_digest == before[name].weight_digest


@pytest.mark.parametrize(
    "model", ["linear_100", "simple_cnn", pytest.param("resnet20", marks=pytest.mark.slow)]
)
def test_pt2e_qat_has_eager_qats_scales_and_codes(model: str) -> None:
    before, after = (_layers(_subject(model, method)) for method in ("qat", "pt2e-qat"))
    weights = [name for name, layer in before.items() if layer.weight]
    assert weights
    for name in weights:
        assert _parameters(after[name].weight) == _parameters(before[name].weight), name
        assert after[name].weight_digest == before[name].weight_digest
    shared = [n for n in after if n in before and after[n].output and before[n].output]
    assert len(shared) >= len(weights) // 2 or model == "linear_100"
    for name in shared:
        assert _parameters(after[name].output) == _parameters(before[name].output), name


def _parameters(quantizer: Quantizer | None) -> Any:
    """As float32: eager mode keeps scales of weights in float64."""
    assert quantizer is not None
    return torch.tensor(quantizer.scales, dtype=torch.float32).tolist(), quantizer.zero_points


def test_fx_quantizes_where_linear_100_learned_no_range() -> None:
    made = _made("linear_100", "fx-qat")
    assert isinstance(made, Failure)
    assert made.unavailable
    assert "eager QAT has no range" in made.reason


def test_the_float_model_in_a_trained_one_is_left_alone() -> None:
    source = _subject("resnet20", "qat").source
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    plain = trained_float(source)
    assert not any(hasattr(module, "fake_quant_enabled") for module in plain.modules())
    assert all(torch.equal(t, before[n]) for n, t in source.state_dict().items())
    switches = _switches(source)
    assert any(switches)
    transfer_ranges(source, torch.fx.symbolic_trace(nn.ReLU()), _images()[:2])
    assert _switches(source) == switches


def _switches(model: nn.Module) -> list[int]:
    fakes: list[Any] = [m for m in model.modules() if hasattr(m, "fake_quant_enabled")]
    return [int(switch) for m in fakes for switch in (m.fake_quant_enabled, m.observer_enabled)]


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_pt2e_is_for_x86_kernels_alone(engine: str) -> None:
    if engine not in available_engines():
        pytest.skip(f"this PyTorch has no engine {engine}")
    made = _made("simple_cnn", "pt2e-static", engine)
    assert isinstance(made, Failure)
    assert made.unavailable
    assert engine in made.reason


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pt2e-static", "pt2e-qat"])
def test_compiled_runs_int8_kernels_on_the_same_codes(method: str) -> None:
    from qreg.metrics.operators import count_operators

    plain, compiled = _subject("simple_cnn", method), _subject("simple_cnn", f"{method}-compiled")
    flips = (_logits(plain).argmax(1) != _logits(compiled).argmax(1)).sum()
    assert int(flips) <= MOST_FLIPS
    assert model_size(plain.model).tensors == model_size(compiled.model).tensors
    counts = {o.name for o in count_operators(compiled.run, _images()[:1], compiled=True)}
    assert any(name.startswith("onednn::qconv") for name in counts)


_HIDDEN = """
import sys
sys.modules["torchao"] = None
from qreg.cli import main
sys.exit(main(["compare", "--limit", "20", "--methods", "pt2e-static,torchao-int8-dynamic"]))
"""


@pytest.mark.slow
def test_without_torchao_the_others_are_measured_and_reported() -> None:
    done = subprocess.run([sys.executable, "-c", _HIDDEN], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "fp32" in done.stdout
    for method in ("pt2e-static", "torchao-int8-dynamic"):
        assert f"shapes10/simple_cnn/{method}@" in done.stderr
    assert done.stderr.count("unavailable: torchao") == 2
    assert "pip install 'torchao>=0.18'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_importing_torchao_says_nothing() -> None:
    code = (
        "from qreg.quantization.needs import need_torchao\n"
        "from qreg.errors import UnavailableError\n"
        "try: need_torchao()\n"
        "except UnavailableError: print('unavailable')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.stdout == "unavailable\n":
        pytest.skip("torchao is not usable here")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_fx_says_that_there_is_nothing_to_calibrate_on() -> None:
    qconfig = torch.ao.quantization.get_default_qconfig("x86")
    with pytest.raises(ValueError, match="no calibration sample"):
        quantize_fx_static(nn.Sequential(nn.Linear(2, 2)), qconfig, [])
