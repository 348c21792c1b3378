from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qreg.cli import main

SMALL = ["migrate", "--model", "linear_100", "--limit", "50"]


def test_help_has_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["migrate", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "qreg migrate --methods static --compiled" in text
    assert "exit status: 0" in text


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["--methods", "statik"], "unknown deprecated method 'statik'", "'static'?"),
        (["--methods", "fx-static"], "unknown deprecated method 'fx-static'", "choices:"),
        (["--methods", ","], "names nothing", "migrate --help"),
        (["--model", "simpel_cnn"], "unknown model 'simpel_cnn'", "'simple_cnn'?"),
        (["--engine", "x68"], "unknown engine 'x68'", "'x86'?"),
        (["--limit", "-1"], "--limit: -1", "migrate --help"),
        (["--checkpoints", "nowhere"], "reference", ""),
    ],
)
def test_what_cannot_be_done_exits_with_2(
    argv: list[str],
    message: str,
    hint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if argv[0] == "--checkpoints":
        monkeypatch.setattr("qreg.training.checkpoints.checkpoint_folders", lambda _: (tmp_path,))
    assert main(["migrate", *argv]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert hint in said
    assert "Traceback" not in said


def test_it_prints_verdicts_table_and_code_and_writes_both_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written, text = tmp_path / "new" / "m.json", tmp_path / "m.md"
    argv = [*SMALL, "--methods", "static", "--json", str(written), "--markdown", str(text)]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("linear_100 on shapes10: no successor loses accuracy")
    assert out.index("static -> fx-static: within noise") < out.index("accuracy %")
    assert out.index("accuracy %") < out.index("def quantize_eager_static(")
    assert out.index("def quantize_eager_static(") < out.index("def quantize_fx_static(")
    pairs = json.loads(written.read_text())["replacements"]
    assert [pair["case"]["method"] for pair in pairs] == ["fx-static", "pt2e-static"]
    assert "```python" in text.read_text()


def test_the_code_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--methods", "static", "--no-code"]) == 0
    assert "def quantize" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_successor_that_fails_names_layer_and_reason(
    nets: str, plus_at: str, colours: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["migrate", "--model", "tiny_nets:make_branching", "--dataset", str(colours)]
    assert main([*argv, "--methods", "static", "--no-code"]) == 1
    captured = capsys.readouterr()
    assert "static -> fx-static: failed: static itself:" in captured.out
    assert f"{plus_at}: + has no kernel" in captured.out
    assert "Traceback" not in captured.err


_HIDDEN = """
import sys
sys.modules["torchao"] = None
from qreg.cli import main
argv = ["migrate", "--model", "linear_100", "--limit", "20", "--methods", sys.argv[1], "--no-code"]
sys.exit(main(argv))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "status"), [("static", 0), ("dynamic", 1)])
def test_without_torchao_the_others_run_and_reported(method: str, status: int) -> None:
    command = [sys.executable, "-c", _HIDDEN, method]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "not available: torchao" in done.stdout
    assert ("static -> fx-static: within noise" in done.stdout) == (method == "static")
    assert "Traceback" not in done.stderr
