from __future__ import annotations

import pytest

from qreg.diagnosis.records import Diagnosis, Raised, Tracer
from qreg.diagnosis.rule import called, diagnose, one_line, that_work, untried, where

_NO_KERNEL = (
    "Could not run 'aten::{}' with arguments from the 'QuantizedCPU' backend. This could be "
    "because the operator doesn't exist for this backend.\nCPU: registered at ...\n"
)


def _raised(message: str, **facts: str) -> Raised:
    return Raised(("NotImplementedError", "RuntimeError"), message, **facts)


@pytest.mark.parametrize(
    ("raised", "operator", "reason", "advice"),
    [
        (_raised(_NO_KERNEL.format("add.out"), code="x + y"), "+", "no kernel", "FloatFunctional"),
        (_raised(_NO_KERNEL.format("mul.out"), code="x *= y"), "*", "no kernel", "self.f.mul"),
        (_raised(_NO_KERNEL.format("silu.out"), layer_kind="SiLU"), "SiLU", "", "DeQuantStub"),
        (_raised(_NO_KERNEL.format("mul.out"), code="einsum('i,i', x, y)"), "einsum", "", "float"),
        (_raised(_NO_KERNEL.format("hardswish"), code="F.hardswish(x)"), "hardswish", "", "nn.H"),
        (_raised(_NO_KERNEL.format("roll")), "roll", "no kernel for quantized", "fx-static"),
        (
            _raised(
                "Could not run 'quantized::conv2d.new' with arguments from the 'CPU' backend",
                layer_kind="Conv2d",
            ),
            "quantized::conv2d",
            "given a float tensor",
            "QuantStub",
        ),
        (_raised("empty_strided not supported on quantized tensors yet", code="x + 3"), "+",
         "no kernel", "add_scalar"),
        (_raised("empty_strided not supported on quantized tensors yet", code="x + self.net(x)"),
         "+", "no kernel", "self.f.add(...)"),
        (_raised("promoteTypes with quantized numbers is not handled", code="x + y"), "+",
         "a quantized and a float", "QuantStub"),
        (_raised("view size is not compatible with input", code="x.view(2, -1)"), "view",
         "memory order", "reshape"),
        (_raised("Per channel weight observer is not supported yet"), "conv_transpose",
         "per channel", "static-per-tensor"),
        (_raised("symbolically traced variables cannot be used as inputs to control flow",
                 tracer=Tracer.FX, code="x.sum() > 0"), "if", "a branch depends", "pt2e-static"),
        (_raised("Proxy object cannot be iterated", tracer=Tracer.FX, code="a, b = x.chunk(2)"),
         "chunk", "unpacked", "pt2e-static"),
        (_raised("float() argument must be ..., not 'Proxy'", tracer=Tracer.FX, code="float(x)"),
         "float", "a number is taken out", "pt2e-static"),
        (_raised("data-dependent expression", tracer=Tracer.EXPORT, code="x.sum() > 0"), "sum",
         "depends on the input's values", "torch.where"),
        (_raised("Constraints violated (batch)!", tracer=Tracer.EXPORT),
         "", "batch size", "x.shape"),
        (_raised("linear(): argument 'weight' (position 2) must be Tensor, not method",
                 code="F.linear(x, self.fc.weight)"), "linear", "is a method", "call the layer"),
        (_raised("DefaultCPUAllocator: can't allocate memory"), "", "out of memory", "smaller"),
    ],
)  # fmt: skip
def test_known_kinds(raised: Raised, operator: str, reason: str, advice: str) -> None:
    found = diagnose(raised)
    assert found.operator == operator
    assert reason in found.reason
    assert advice in found.advice


def test_an_unknown_kind_keeps_its_own_first_line() -> None:
    found = diagnose(Raised(("ValueError", "Exception"), "a b c\nand more", code="f(x)"))
    assert found.reason == "ValueError: a b c in `f(x)`"
    assert "--traceback" in found.advice


def test_a_layer_and_a_line() -> None:
    assert where("layer1.0", "nets.py:12") == "layer1.0 (nets.py:12)"
    assert where("", "nets.py:12") == "nets.py:12"
    assert where("layer1.0", "") == "layer1.0"


def test_a_diagnosis_is_of_single_lines() -> None:
    with pytest.raises(ValueError, match="single lines"):
        Diagnosis("", "", "one\ntwo", "")


@pytest.mark.parametrize(
    ("code", "operator"),
    [
        ("out += identity", "+"),
        ("x @ y", "@"),
        ("F.relu(x)", "relu"),
        ("if x.sum() > 0:", "if"),
        ("assert x.sum() > 0", "if"),
        ("x = y", ""),
        ("self.f(", ""),
    ],
)
def test_the_operator_of_code(code: str, operator: str) -> None:
    assert called(code) == operator


def test_a_long_text_is_cut() -> None:
    assert one_line("\n  First. Second") == "First"
    assert len(one_line("x" * 500)) <= 160


def test_all_that_is_advised_is_tried_then_what_rewrites_the_network() -> None:
    works = {"static": False}
    assert untried((), works) == ()
    assert untried(("fx-static", "pt2e-static"), works) == ("fx-static", "pt2e-static")
    assert untried(("fx-static",), {**works, "fx-static": True}) == ()
    lost = {**works, "fx-static": False}
    assert untried(("fx-static",), lost) == ("static-auto", "pt2e-static")
    assert untried(("fx-static",), {**lost, "static-auto": False, "pt2e-static": False}) == ()


def test_only_what_works_is_advised() -> None:
    advised = ("static-auto", "fx-static")
    assert that_work(advised, {"fx-static": True, "static-auto": False}) == (("fx-static",), True)
    assert that_work(("fx-static",), {"fx-static": False, "pt2e-static": True}) == (
        ("pt2e-static",),
        True,
    )
    assert that_work(advised, {}) == (advised, False)
    assert that_work(advised, dict.fromkeys(advised, False)) == ((), False)


@pytest.mark.parametrize(
    ("name", "way"), [("weight_g", "weight_norm"), ("weight_orig", "spectral_norm")]
)
def test_a_weight_that_a_hook_computes(name: str, way: str) -> None:
    text = f"'Conv1d' object has no attribute '{name}'"
    found = diagnose(Raised(("AttributeError",), text, layer_kind="Conv1d", code="self.net(x)"))
    assert found.operator == way
    assert f"remove_{way}" in found.remedy
    assert found.instead


def test_an_assert_in_forward() -> None:
    text = "symbolically traced variables cannot be used as inputs to control flow"
    code = "assert h % self.groups == 0"
    found = diagnose(Raised(("TraceError",), text, tracer=Tracer.FX, code=code))
    assert (found.operator, "torch._assert" in found.remedy) == ("if", True)
    assert "an assert" in found.reason
