"""What methods say of themselves, and that it is so."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qreg
from qreg.errors import UnavailableError, UnknownNameError
from qreg.quantization import (
    DEFAULT_METHODS,
    METHODS,
    alternatives,
    get_method,
    method_info,
    successors,
)
from qreg.quantization.engines import ALL_ENGINES
from qreg.quantization.method import Method, MethodInfo, Need
from qreg.quantization.needs import check_needs

NAMES = METHODS.names()


@pytest.mark.parametrize("name", NAMES)
def test_the_object_has_the_facts_that_were_registered(name: str) -> None:
    assert get_method(name).info == METHODS.info(name) == method_info(name)


@pytest.mark.parametrize("info", METHODS.facts(), ids=NAMES)
def test_every_shipped_method_says_what_it_is(info: MethodInfo) -> None:
    assert info.float_only is not None
    assert info.control in NAMES
    assert info.variant_of in ("", *NAMES)
    assert bool(info.variant_of) == (info.compiled or info.per_tensor)
    assert set(info.engines) <= set(ALL_ENGINES)
    assert not (info.default and info.requires), "the default ones run with PyTorch alone"
    assert not METHODS.info(info.replaces).replaces if info.replaces else True


def test_the_defaults_are_those_that_say_so_whatever_the_order() -> None:
    assert set(DEFAULT_METHODS) == {info.name for info in METHODS.facts() if info.default}
    assert DEFAULT_METHODS[0] == "fp32"


def test_successors_are_known_without_torch() -> None:
    code = (
        "import sys; from qreg.quantization import successors; "
        "print(*(s.name for s in successors('dynamic'))); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [one.name for one in successors("dynamic")], done.stderr


def test_a_users_own_object_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from qreg.quantization import Method, Need\n"
        "def quantize(model, context): return model\n"
        "HALF = Method('half', quantize, float_only=True)\n"
    )
    (tmp_path / "own_facts.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert method_info("own_facts:HALF").float_only is True
    assert method_info("own_facts:quantize") == MethodInfo("own_facts:quantize")
    assert not method_info("own_facts:quantize").quantizes


def test_of_a_module_that_is_not_there_nothing_is_known() -> None:
    assert method_info("no_such_module:METHOD") == MethodInfo("no_such_module:METHOD")
    with pytest.raises(UnknownNameError, match="statik"):
        method_info("statik")


def test_an_engine_without_kernels_is_unavailable() -> None:
    here = MethodInfo("mine", engines=("x86", "onednn"))
    check_needs(here, "x86")
    with pytest.raises(UnavailableError, match="mine has no kernels for qnnpack") as caught:
        check_needs(here, "qnnpack")
    assert "x86, onednn" in caught.value.hint


def test_what_is_not_installed_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(UnavailableError, match="torchao") as caught:
        check_needs(MethodInfo("mine", requires=(Need.TORCHAO,)), "x86")
    assert "pip install" in caught.value.hint


def test_a_method_may_be_made_in_one_go() -> None:
    made = Method("mine", lambda model, context: model, requires=(Need.TORCHAO,))
    assert (made.name, made.checkpoint, made.requires) == ("mine", "fp32", (Need.TORCHAO,))


def test_no_code_asks_for_the_beginning_or_end_of_a_methods_name() -> None:
    """A part of a method's name, as an argument of startswith and its like or in an ``in``."""
    parts = {"fx-", "pt2e-", "torchao-", "-compiled", "-per-tensor", "pt2e", "torchao-int8-"}
    found = [
        f"{path}:{node.lineno}: {node.value}"
        for path in Path(qreg.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in parts
    ]
    assert found == []


def test_what_is_advised_in_place_of_a_method() -> None:
    advised = ("static-auto", "fx-static")
    assert alternatives("static", advised) == advised
    assert alternatives("static-auto", advised) == ("fx-static",)
    assert alternatives("qat", advised) == ("fx-qat", "pt2e-qat")
    assert alternatives("fx-qat", ()) == ()
    assert alternatives("mine:quantize", advised) == advised
