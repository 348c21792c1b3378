"""A new user's way, by the commands: a module and an npz file, to a fault that is named."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
NETS = '''
"""A network as it is published, and a method of the user's own."""
import os
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx
from torch.nn import functional as F


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1:
            pad = (width - channels) // 2
            self.shortcut = Lambda(
                lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad), "constant", 0)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, 8, 1), Block(8, 8, 1))
        self.layer2 = nn.Sequential(Block(8, 16, 2), Block(16, 16, 1))
        self.linear = nn.Linear(16, 3)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer2(self.layer1(out))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


def resnet():
    """Brings its weights."""
    torch.manual_seed(0)
    net = ResNet().train()
    with torch.no_grad():
        for _ in range(20):
            net(torch.randn(16, 3, 16, 16))
    return net.eval()


def quantize(model, context):
    fault, layer = os.environ.get("FAULT", ""), "model.layer2.0.conv2"
    mapping = ao.get_default_qconfig_mapping(context.engine)
    if fault == "float":
        mapping.set_module_name(layer, None)
    prepared = quantize_fx.prepare_fx(model, mapping, (context.to_trace(),))
    with torch.no_grad():
        for batch in context.calibration():
            prepared(batch)
    made = quantize_fx.convert_fx(prepared)
    if fault == "scale":
        made.get_submodule(layer).scale *= 1.2
    return made
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with one module and one npz file."""
    (tmp_path / "nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 192), ("test", 120)):
        labels = np.arange(count) % 3
        images = rng.integers(0, 150, (count, 16, 16, 3))
        images[np.arange(count), :, :, labels] += 100
        arrays[f"{split}_images"] = images.astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(tmp_path / "colours.npz", **arrays)
    return tmp_path


def _run(project: Path, *command: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FAULT": fault, "COLUMNS": "150", "OMP_NUM_THREADS": "1"}
    environment.pop("CI", None)
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env={**environment, "QREG_CACHE_DIR": str(project / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_one_module_and_one_file_to_a_fault_that_is_named(project: Path) -> None:
    done = _run(project, "qreg", "check", "nets:resnet", "--dataset", "colours.npz")
    assert done.returncode == 1, done.stderr
    shown = " ".join(done.stdout.split())
    assert "static: + has no kernel for quantized tensors in `out += self.shortcut(x)`" in shown
    assert "use static-auto, fx-static" in shown  # and pt2e-static, with torchao
    methods = "dynamic,static,static-auto,nets:quantize"
    done = _run(project, "qreg", "init", "--methods", methods)
    assert done.returncode == 0, done.stderr
    table = (project / "pyproject.toml").read_text()
    assert 'models = ["nets:resnet"]' in table
    assert 'methods = ["fp32", "dynamic", "static-auto", "nets:quantize"]' in table
    update = ("qreg", "baseline", "update", "--category", "create", "--reason", "first")
    done = _run(project, *update)
    assert done.returncode == 0, done.stderr
    gate = ("pytest", "-m", "regression", "-p", "no:cacheprovider")
    done = _run(project, *gate)
    assert (done.returncode, "4 cases: 4 PASS" in done.stdout) == (0, True), done.stdout
    for fault, kind in (("scale", "parameters"), ("float", "operators")):
        done = _run(project, *gate, "--qreg-method", "nets:quantize", fault=fault)
        assert done.returncode == 1, done.stdout
        assert f"{kind} REGRESSED: model.layer2.0.conv2" in done.stdout
        assert "first diverging layer: model.layer2.0.conv2" in done.stdout


def test_a_published_network_is_trained_and_converted_by_fx_qat(project: Path) -> None:
    common = ("--model", "nets:resnet", "--dataset", "colours.npz", "--threads", "1")
    train = ("qreg", "train", *common, "--method", "fx-qat", "--epochs", "2")
    done = _run(project, *train, "--out", "baselines/checkpoints")
    assert done.returncode == 0, done.stderr
    assert "qat.safetensors" in done.stdout
    done = _run(project, "qreg", "compare", *common, "--methods", "static-auto,qat,fx-qat")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    # fp32 and static-auto run the factory's weights, the trained ones are a checkpoint
    assert "weights of fp32,static-auto: factory" in done.stdout
    assert "weights of qat,fx-qat: checkpoint" in done.stdout


def test_a_blocked_method_has_one_text_wherever_it_is_blocked(project: Path) -> None:
    """`qreg check`, compare, baseline update and the gate name the methods that work for it."""
    table = '[tool.qreg]\nmodels = ["nets:resnet"]\ndatasets = ["colours.npz"]\n'
    (project / "pyproject.toml").write_text(f'{table}methods = ["fp32", "static"]\n')
    case = ("--model", "nets:resnet", "--dataset", "colours.npz", "--methods", "static")
    commands = (
        ("qreg", "check", "nets:resnet", *case[2:]),
        ("qreg", "compare", *case),
        ("qreg", "baseline", "update", "--category", "create", "--reason", "first"),
        ("pytest", "-m", "regression", "-p", "no:cacheprovider"),
    )
    graphs = ", fx-static or pt2e-static" if find_spec("torchao") else " or fx-static"
    wanted = (
        "layer1.0 (nets.py:",
        "+ has no kernel for quantized tensors in `out += self.shortcut(x)`",
        "make it a module: self.f = torch.ao.nn.quantized.FloatFunctional(), then self.f.add(...); "
        f"or use static-auto{graphs}, which work for this model",
    )
    for command in commands:
        done = _run(project, *command)
        shown = " ".join((done.stdout + done.stderr).split())
        assert [text for text in wanted if text not in shown] == [], shown
        assert "Traceback" not in shown
