from __future__ import annotations

import pytest

from qreg.cli import main
from qreg.quantization.engines import available_engines


def _audit(*more: str) -> list[str]:
    return ["audit", "saturation", "--images", "4", *more]


@pytest.mark.parametrize(("engine", "status"), [("onednn", 1), ("qnnpack", 0)])
def test_audit_says_which_layers_overflow(
    engine: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if engine not in available_engines():
        pytest.skip(f"no {engine} in this PyTorch")
    assert main(_audit("--engine", engine)) == status
    shown = capsys.readouterr().out
    assert f"shapes10/simple_cnn/static@{engine}, 4 " in shown
    assert "conv1" in shown
    assert "fc3" in shown
    found = "layers overflow on a CPU without VNNI: conv1" if status else "nothing can overflow"
    assert found in " ".join(shown.split())


def test_a_float_model_has_nothing_to_audit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_audit("--method", "fp32")) == 2
    assert "no quantized convolution or linear layer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--images", "0"), ": 0 is not"),
        (("--engine", "x68"), "'x86'?"),
        (("--method", "statik"), "'static'?"),
    ],
)
def test_errors_are_reported(
    more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_audit(*more)) == 2
    assert message in capsys.readouterr().err
