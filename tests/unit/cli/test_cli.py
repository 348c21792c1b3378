from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qreg.cli import build_parser, main
from qreg.files import shipped_folder

COMMANDS = ("compare", "train")


def test_help_does_not_import_torch() -> None:
    code = "import sys; from qreg.cli import build_parser; build_parser().format_help(); "
    code += "print(sys.modules.keys() & {'torch', 'torchvision', 'numpy', 'scipy', 'rich'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_help_of_all_commands_imports_none_of_them() -> None:
    assert build_parser([]).format_help() == build_parser().format_help()
    code = "import sys; from qreg.cli import COMMANDS, build_parser; build_parser(['--help']); "
    code += "print(sys.modules.keys() & {one for one, _ in COMMANDS.values()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help_has_examples(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "qreg compare" in text or "qreg train" in text


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["compare", "--model", "simpel_cnn"], "unknown model 'simpel_cnn'", "'simple_cnn'?"),
        (["compare", "--methods", "statik"], "unknown method 'statik'", "'static'?"),
        (["compare", "--engine", "x68"], "unknown engine 'x68'", "'x86'?"),
        (["compare", "--dataset", "shapes"], "unknown dataset 'shapes'", "'shapes10'?"),
        (["compare", "--threads", "-1"], "--threads: -1", "compare --help"),
        (["compare", "--limit", "-5"], "--limit: -5", "compare --help"),
        (["train", "--model", "x"], "unknown model 'x'", "choices:"),
        (["compare", "--model", "no_such_module:f"], "no module named", "install"),
    ],
)
def test_what_is_unknown_exits_with_2_and_the_nearest(
    argv: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert message in said
    assert hint in said
    assert "Traceback" not in said


def test_an_unknown_name_outside_of_projects_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["sensitivity", "--model", "ecg_net"]
    assert main(argv) == 2
    assert "no pyproject.toml with [tool.qreg] is here or above" in capsys.readouterr().err
    (tmp_path / "pyproject.toml").write_text('[tool.qreg]\nmodels = ["simple_cnn"]\n')
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "unknown model 'ecg_net'" in said
    assert "pyproject" not in said


def test_compare_prints_the_table_and_writes_both_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written, drawn = tmp_path / "new" / "c.json", tmp_path / "c.png"
    argv = ["compare", "--model", "linear_100", "--limit", "200"]
    assert main([*argv, "--json", str(written), "--plot", str(drawn)]) == 0
    out = capsys.readouterr().out
    for method in ("fp32", "dynamic", "static", "fp32-finetuned", "qat"):
        assert method in out
    assert re.search(r"\b200 test \w+", out)
    assert len(json.loads(written.read_text())["measurements"]) == 5
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_compare_shows_several_engines(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", "--model", "linear_100", "--limit", "50", "--methods", "static"]
    status = main([*argv, "--engine", "x86,qnnpack"])
    captured = capsys.readouterr()
    assert "qnnpack" in captured.out + captured.err
    assert status in (0, 1)


def test_an_engine_that_is_not_here_leaves_the_other_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qreg.quantization.engines.available_engines", lambda: ("x86",))
    argv = ["compare", "--model", "linear_100", "--limit", "50", "--methods", "dynamic"]
    assert main([*argv, "--engine", "x86,fbgemm"]) == 1
    captured = capsys.readouterr()
    assert "engine 'fbgemm' is not in this PyTorch\n  available engines: x86" in captured.err
    assert captured.out.count("dynamic") >= 2


def test_weights_of_a_model_named_on_the_command_line(
    tmp_path: Path, colours: Path, nets: str, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    from qreg.data.files import file_sha256
    from qreg.models import build_model, define_models

    file = tmp_path / "w.safetensors"
    model = build_model(f"{nets}:make_net", seed=3)
    state = getattr(model, "model", model).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    argv = ["compare", "--model", f"{nets}:make_net", "--dataset", str(colours)]
    argv += ["--methods", "dynamic", "--threads", "1", "--weights-file"]
    try:
        assert main([*argv, str(file)]) == 0
    finally:
        define_models(())
    assert f"weights: file, sha256 {file_sha256(file)[:16]}" in capsys.readouterr().out
    assert main([*argv, str(tmp_path / "none.pt")]) == 2
    assert "no weights at" in capsys.readouterr().err
    assert main(["compare", "--weights-file", str(file)]) == 2
    assert "--checkpoints DIR" in capsys.readouterr().err


def test_per_tensor_weights(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", "--model", "linear_100", "--limit", "50", "--weights", "per_tensor"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "static-per-tensor" in out
    assert "qat-per-tensor" in out


def test_a_users_own_model_data_and_method(
    nets: str, colours: Path, own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--model", "tiny_nets:make_net", "--dataset", str(colours)]
    folder = ["--checkpoints", str(tmp_path / "own")]
    train = ["train", *common, "--out", str(tmp_path / "own")]
    assert main([*train, "--epochs", "3"]) == 0
    assert main([*train, "--method", "qat"]) == 0
    assert main([*train, "--method", "fp32-finetuned"]) == 0
    assert main(["compare", *common, *folder]) == 0
    assert main(["compare", *common, *folder, "--methods", "tiny_nets:half_precision"]) == 0
    out = capsys.readouterr().out
    assert "tiny_nets:half_precision" in out
    assert "qat" in out


def test_the_checkpoints_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    out = capsys.readouterr().out
    assert out.count("fp32-finetuned") == 8
    assert "mobilenet_v2" in out


def test_training_does_not_replace_a_checkpoint_unasked(
    nets: str, colours: Path, own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "--model", "tiny_nets:make_net", "--dataset", str(colours), "--epochs", "1"]
    argv += ["--out", str(tmp_path / "own")]
    assert main(argv) == 0
    assert main(argv) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*argv, "--force"]) == 0


@pytest.mark.parametrize("traceback", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_users_model_that_raises_names_the_operator(
    nets: str,
    plus_at: str,
    colours: Path,
    own_cache: Path,
    capsys: pytest.CaptureFixture[str],
    traceback: bool,
) -> None:
    argv = ["compare", "--model", "tiny_nets:make_branching", "--dataset", str(colours)]
    asked = ["--traceback"] if traceback else []
    assert main([*argv, "--methods", "dynamic,static", *asked]) == 1
    captured = capsys.readouterr()
    assert "failed" in captured.out
    assert f"{plus_at}: + has no kernel for quantized tensors" in captured.err
    assert "fx-static" in captured.err
    assert ("Traceback" in captured.err) is traceback
    assert "dynamic" in captured.out


def test_a_damaged_checkpoint_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shipped_folder() / "checkpoints" / "shapes10" / "linear_100"
    target = tmp_path / "shapes10" / "linear_100"
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    damaged = target / "fp32.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    argv = ["compare", "--model", "linear_100", "--checkpoints", str(tmp_path)]
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "expected sha256" in said
    assert "found sha256" in said
    assert "qreg train" in said


def test_cifar10_that_is_not_there_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--dataset", "cifar10", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "tried" in said
    assert "QREG_DATA_DIR" in said


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_command_as_a_shell_expects() -> None:
    """rich turns the closed pipe into `sys.exit(1)`, which is no exit of a model's code."""
    code = (
        "import sys, qreg.cli as cli\nfrom argparse import Namespace\n"
        "from rich.console import Console\n"
        "work = lambda args: Console().print('line\\n' * 100_000) or 0\n"
        "cli.build_parser = lambda _: Namespace(parse_args=lambda argv: Namespace(run=work))\n"
        "sys.exit(cli._run([]))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
