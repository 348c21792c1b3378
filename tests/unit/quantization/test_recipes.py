"""The code that `qreg migrate` shows, executed as it is shown, gives what the methods give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from qreg.data.batches import batches
from qreg.errors import UnavailableError
from qreg.measure.options import Options
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.migrate.snippet import snippet
from qreg.models import build_model
from qreg.quantization import DEPRECATED, METHODS, get_method, successors
from qreg.quantization.eager import fuse, qat_qconfig, static_qconfig
from qreg.quantization.engines import available_engines, engines_for, use_engine
from qreg.quantization.needs import need_torchao
from qreg.records.case import Case, Failure

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")
OPTIONS = Options(limit=16)
PLAIN = tuple(n for n in (*DEPRECATED, *(s.name for d in DEPRECATED for s in successors(d))))
STATIC = tuple(n for n in PLAIN if "qat" not in n and not n.endswith("compiled"))
QAT = tuple(n for n in PLAIN if "qat" in n and not n.endswith("compiled"))


def _shown(method: str) -> list[Callable[..., Any]]:
    """The functions of a recipe, from nothing but its text."""
    text = snippet(get_method(method).recipe)
    if "onnxruntime" in text:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    if "torchao" in text:
        try:
            need_torchao()
        except UnavailableError as error:
            pytest.skip(str(error))
    assert "qreg" not in text
    names: dict[str, Any] = {}
    exec(compile(text, f"shown for {method}", "exec"), names)
    return [names[function.__name__] for function in get_method(method).recipe]


def _subject(method: str) -> tuple[Subject, torch.Tensor, list[torch.Tensor]]:
    """The case as qreg makes it, test images, and what it was calibrated on."""
    dataset = OPTIONS.dataset("shapes10")
    test = OPTIONS.load(dataset, "test").head(OPTIONS.limit)
    setup = case_setup(dataset, test, OPTIONS)
    engine = engines_for(METHODS.info(method), ("x86",))[0]
    made = prepare(Case("shapes10", "simple_cnn", method, engine), setup)
    if isinstance(made, Failure) and made.unavailable:
        pytest.skip(made.reason)
    assert isinstance(made, Subject), made
    images = next(batches(test, dataset, size=OPTIONS.limit))
    return made, images, list(batches(setup.calibration(), dataset, size=64))


def _given(method: str, source: nn.Module, images: torch.Tensor, calibration: Any) -> list[Any]:
    qconfig = static_qconfig("x86", "per_channel")
    if method == "static":
        return [fuse(source), qconfig, calibration]
    if method == "fx-static":
        return [source, qconfig, calibration]
    if method in ("pt2e-static", "ort-static"):
        return [source, images[:2], calibration]
    return [source, images[:2]] if method == "ort-dynamic" else [source]


@pytest.mark.slow
@pytest.mark.parametrize("method", STATIC)
@torch.no_grad()
def test_the_code_as_shown_gives_the_methods_logits(method: str) -> None:
    (quantize,) = _shown(method)
    subject, images, calibration = _subject(method)
    source = copy.deepcopy(subject.source).eval()
    with use_engine("x86"):
        made = quantize(*_given(method, source, images, calibration))
        assert torch.equal(made(images), subject.run(images))


@pytest.mark.parametrize(
    "method",
    [pytest.param(n, marks=pytest.mark.slow if n.startswith("pt2e") else ()) for n in QAT],
)
def test_the_code_as_shown_trains_and_converts(method: str) -> None:
    prepare_it, convert_it = _shown(method)
    _, images, _ = _subject("fp32")
    model = build_model("simple_cnn").eval()
    given: list[Any] = [fuse(model) if method == "qat" else model]
    given += [] if method.startswith("pt2e") else [qat_qconfig("per_channel")]
    given += [] if method == "qat" else [images[:2]]
    with use_engine("x86"):
        trained = prepare_it(*given)
        before = {name: tensor.clone() for name, tensor in trained.named_parameters()}
        _step(trained, images)
        assert any(not torch.equal(before[n], t) for n, t in trained.named_parameters())
        made = convert_it(trained)
        with torch.no_grad():
            found = made(images)
    assert found.shape == (len(images), 10)
    assert torch.isfinite(found).all()
    assert not any(hasattr(module, "fake_quant_enabled") for module in made.modules())


def _step(model: nn.Module, images: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(images).logsumexp(1).sum().backward()
    optimizer.step()


@pytest.mark.slow
@torch.no_grad()
def test_the_code_as_shown_compiles_to_int8_kernels() -> None:
    from qreg.metrics.operators import count_operators

    quantize, compile_it = _shown("pt2e-static-compiled")
    subject, images, calibration = _subject("pt2e-static-compiled")
    source = copy.deepcopy(subject.source).eval()
    made = compile_it(quantize(source, images[:2], calibration), images[:2])
    names = [o.name for o in count_operators(made, images[:1], compiled=True)]
    assert any(name.startswith("onednn::qconv") for name in names)
    assert torch.equal(made(images), subject.run(images))


@pytest.mark.parametrize("method", DEPRECATED)
def test_every_deprecated_method_has_successors_with_code(method: str) -> None:
    found = successors(method)
    assert found
    assert all(get_method(one).recipe for one in (method, *(info.name for info in found)))


def test_methods_replace_deprecated_ones_only() -> None:
    replaced = {get_method(name).replaces for name in METHODS.names()}
    assert replaced == {"", *DEPRECATED}
