"""A project whose networks are taken from PyTorch to ONNX to int8 ONNX, and held by the gate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from qreg.measure.options import Options
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.models.stubs import with_stubs
from qreg.records.case import Case
from tests.unit.artifacts import files

files.need_onnxruntime()

ROOT = Path(__file__).parents[3]
SHIPPED = ("simple_cnn", "resnet20")
_PLUGIN = ("-p", "qreg.pytest_plugin", "-p", "no:cacheprovider", "-m", "regression")
_TABLE = """
[tool.qreg]
models = [
    { factory = "simple_cnn", name = "simple_cnn", files = ["exports/simple_cnn_int8.onnx"] },
    { factory = "resnet20", name = "resnet20", files = ["exports/resnet20_int8.onnx"] },
    { factory = "nets:net", name = "own", files = ["exports/own_int8.onnx"] },
    { file = "exports/own.onnx", name = "exported", files = ["exports/own_int8.onnx"] },
]
methods = ["fp32"]
samples = { size = 100 }
"""


def _float(name: str) -> torch.nn.Module:
    """A shipped network with its trained weights."""
    options = Options(limit=2)
    dataset = options.dataset("shapes10")
    setup = case_setup(dataset, options.load(dataset, "test").head(2), options)
    made = prepare(Case("shapes10", name, "fp32", "x86"), setup)
    assert isinstance(made, Subject), made
    return made.model


def _write(folder: Path, name: str, model: torch.nn.Module) -> None:
    """The float model and its int8 version, as a user exports them."""
    from qreg.quantization.onnxruntime_methods import export_onnx, quantize_bytes_static

    exported = export_onnx(model, files.IMAGES[:2])
    (folder / f"{name}.onnx").write_bytes(exported)
    int8 = quantize_bytes_static(exported, ["input"], [(files.IMAGES,)])
    (folder / f"{name}_int8.onnx").write_bytes(int8)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CI", "")
    folder = pytester.path
    (folder / "exports").mkdir()
    for name in SHIPPED:
        _write(folder / "exports", name, _float(name))
    _write(folder / "exports", "own", with_stubs(files.net()).eval())
    (folder / "nets.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.unit.artifacts.files import net\n"
    )
    (folder / "pyproject.toml").write_text(_TABLE)
    return folder


@pytest.mark.slow
def test_three_networks_are_held_by_the_gate(project: Path, pytester: pytest.Pytester) -> None:
    update = ("baseline", "update", "--reason", "delivered", "--category", "create")
    approved = pytester.run(sys.executable, "-m", "qreg", *update)
    assert approved.ret == 0, approved.stderr.str()
    names = sorted(path.name for path in (project / "baselines" / "shapes10" / "own").iterdir())
    assert names == ["file.exports%2Fown_int8.onnx@onnxruntime.json", "fp32@x86.json"]
    held = pytester.runpytest_subprocess(*_PLUGIN)
    assert "8 cases: 8 PASS" in held.stdout.str(), held.stdout.str()

    def larger(scales: Any) -> Any:
        scales.reshape(-1)[0] *= 1.01
        return scales

    from qreg.artifacts.onnx_file import load_onnx

    path = project / "exports" / "resnet20_int8.onnx"
    layer = [x for x in load_onnx(path, name="").graph.layers if x.weight_quantizer][3]
    scale = f"{layer.weight.removesuffix('_quantized')}_scale"
    files.changed(path, lambda model: files.set_tensor(model, scale, larger))
    (project / "exports" / "simple_cnn_int8.onnx").unlink()
    found = pytester.runpytest_subprocess(*_PLUGIN)
    text = found.stdout.str()
    assert "8 cases: 1 ERROR, 1 REGRESSED, 6 PASS" in text, text
    assert f"parameters REGRESSED: {layer.name}: weight of channel 0" in text
    assert "no file simple_cnn_int8.onnx" in text
    assert "Traceback" not in text
