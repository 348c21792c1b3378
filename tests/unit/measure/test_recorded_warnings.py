from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from qreg.measure.recorded_warnings import plain_text, recorded_warnings, silence_one_time_warnings


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("at 0x7f31dead00 it broke", "at 0x it broke"),
        ("<Net object at 0xABC>, <Net object at 0x12>", "<Net object at 0x>, <Net object at 0x>"),
        ("/home/me/venv/lib/torch/nn.py:12: old", "nn.py:12: old"),
        ("see '/tmp/a/b.py' and \"/opt/c.py\"", "see 'b.py' and \"c.py\""),
        ("/tmp/one/a.py and /tmp/two/b.py", "a.py and b.py"),
        ("see https://github.com/pytorch/pytorch/issues/184982 for", None),
        ("use ops/quantized or ao/nn.py, 1/2 of them", None),
        ("a / b and /alone", None),
        ("two  spaces\nand a line", "two spaces and a line"),
        ("", None),
        (
            "attributes self.b.w, self.a.w, self.c were",
            "attributes self.a.w, self.b.w, self.c were",
        ),
        ("unused: {'z', 'a b'} of {'y'}", "unused: {'a b', 'z'} of {'y'}"),
        ("self.b and self.a, then self.", None),
    ],
)
def test_plain_text_is_the_same_in_every_process(text: str, plain: str | None) -> None:
    assert plain_text(text) == (text if plain is None else plain)
    assert plain_text(plain_text(text)) == plain_text(text)


def test_distinct_texts_are_recorded_and_none_is_shown(
    recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    with recorded_warnings() as texts:
        for text in ("one", "two", "one"):
            warnings.warn(text, UserWarning, stacklevel=1)
        warnings.warn("three", DeprecationWarning, stacklevel=1)
    assert texts == {"one", "two", "three"}
    assert len(recwarn) == 0
    assert capfd.readouterr() == ("", "")


def test_what_pytorch_says_once_is_recorded_every_time() -> None:
    found = []
    for _ in range(2):
        with recorded_warnings() as texts:
            torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
        found.append(texts)
    assert found[0] == found[1]
    assert not [text for text in found[0] if "Triggered internally" in text]


def test_printed_warnings_are_recorded_and_the_rest_is_passed_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with recorded_warnings() as texts:
        os.write(2, b"[W1123 17:58:11.027680313 Quantizer.cpp:111] Warning: it is old. ")
        os.write(2, b"(function operator())\n[W1123 17:58 a.cpp:1] Warning: plain\n")
        os.write(2, b"[W1123 no warning of PyTorch's\nTraceback: mine \xff\n")
        print("said by Python", file=sys.stderr)
    assert texts == {"it is old.", "plain"}
    shown = capfd.readouterr().err
    assert "[W1123 no warning of PyTorch's\nTraceback: mine" in shown
    assert "said by Python" in shown
    assert "it is old" not in shown


def test_what_torch_fx_prints_of_an_exception_is_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    graph = torch.fx.Graph()
    graph.output(graph.call_method("view", (graph.placeholder("x"), -2)))
    model = torch.fx.GraphModule({}, graph)
    with recorded_warnings():
        print("the model's own words", file=sys.stderr)
        with pytest.raises(RuntimeError, match="invalid shape"):
            model(torch.zeros(3))
    assert capfd.readouterr().err == "the model's own words\n"


def test_an_error_inside_leaves_everything_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before, filters, file = torch.is_warn_always_enabled(), warnings.filters[:], os.fstat(2).st_ino
    with pytest.raises(KeyError), recorded_warnings() as texts:  # noqa: PT012
        warnings.warn("said before it broke", stacklevel=1)
        os.write(2, b"printed before it broke\n")
        raise KeyError
    assert texts == {"said before it broke"}
    assert torch.is_warn_always_enabled() == before
    assert warnings.filters[:] == filters
    assert os.fstat(2).st_ino == file
    assert capfd.readouterr().err == "printed before it broke\n"


def test_recording_within_a_recording(capfd: pytest.CaptureFixture[str]) -> None:
    with recorded_warnings() as outer:
        warnings.warn("before", stacklevel=1)
        with recorded_warnings() as inner:
            warnings.warn("within", stacklevel=1)
            os.write(2, b"[W1 a b.cpp:1] Warning: printed\n")
        warnings.warn("after", stacklevel=1)
    assert (inner, outer) == ({"within", "printed"}, {"before", "after"})
    assert capfd.readouterr().err == ""


_KERNEL = """
import torch
from qreg.measure.recorded_warnings import recorded_warnings, silence_one_time_warnings
from torch.ao.quantization import quantize_dynamic
silence_one_time_warnings()
with recorded_warnings():
    model = quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(2, 2)))
model.state_dict()
"""


@pytest.mark.slow
def test_one_time_warnings_are_not_emitted_later(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", _KERNEL],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    with warnings.catch_warnings(record=True) as caught:
        silence_one_time_warnings()
    assert caught == []
