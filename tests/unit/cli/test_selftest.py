from __future__ import annotations

import pytest

from qreg.cli import main


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["selftest", "--help"])
    shown = capsys.readouterr().out
    assert "qreg selftest --faults zero-point+1,bias-dropped" in shown
    assert "exit status: 0" in shown


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--faults", "bias-droped"), "'bias-dropped'?"),
        (("--method", "statik"), "'static'?"),
        (("--engine", "x68"), "'x86'?"),
        (("--clean-runs", "-1"), "--clean-runs: -1"),
        (("--draws", "0"), "--draws: 0"),
        (("--faults", "none", "--clean-runs", "0"), "nothing to run"),
        (("--faults", "fake-quant-off", "--method", "fp32", "--clean-runs", "0"), "no fault"),
    ],
)
def test_errors_are_reported(
    more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selftest", *more]) == 2
    assert message in capsys.readouterr().err
