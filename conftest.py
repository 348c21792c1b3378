"""Shared by all tests: a small dataset of the user's kind, and where the real data is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, and for the processes that tests start: on a busy machine two threads
# of one kernel wait for each other far longer than one would work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of a run: one a core for the whole suite, else this one.

    A few tests that are named start sooner without; the gate has processes of its own; and
    pytest-benchmark wants the machine for itself.
    """
    usual = "not slow" in config.option.markexpr
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    return (os.cpu_count() or 1) if whole and usual else 0


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """The gate alone: its cases come from the table, and no test here bears that mark.

    Importing all of their modules takes longer than a good part of the gate.
    """
    return True if config.option.markexpr == "regression" else None


def make_npz(path: Path, *, train: int = 96, test: int = 40, seed: int = 0) -> Path:
    """An npz dataset of 4 classes that differ in colour, with noise: learnable in an epoch."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {"classes": np.array(["red", "green", "blue", "grey"])}
    colours = np.array([[160, 90, 90], [90, 160, 90], [90, 90, 160], [120, 120, 120]])
    for split, count in (("train", train), ("test", test)):
        labels = np.arange(count) % 4
        noise = rng.integers(-40, 41, (count, 32, 32, 3))
        images = colours[labels][:, None, None, :] + noise
        arrays[f"{split}_images"] = images.clip(0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the small npz dataset."""
    return make_npz(tmp_path_factory.mktemp("colours") / "colours.npz")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("QREG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cifar10_dir() -> Path:
    """The folder that holds the real CIFAR-10; the test is skipped, and counted, without it."""
    chosen = os.environ.get("QREG_DATA_DIR")
    if not chosen:
        pytest.skip("QREG_DATA_DIR is not set: no CIFAR-10")
    return Path(chosen)


@pytest.fixture(autouse=True)
def _engine_as_it_was() -> Iterator[None]:
    """No test may leave another quantized engine behind."""
    import torch

    before = torch.backends.quantized.engine
    yield
    assert torch.backends.quantized.engine == before


_NETS = '''
import torch
from torch import nn

def make_net():
    """A small network that learns the colours in an epoch."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4)
    )

def make_branching():
    """Adds with `+`: cannot be quantized statically."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 32)
        def forward(self, x):
            y = self.conv(x)
            return (y + y).flatten(1)
    return Net()

def make_of_two_names():
    """A layer that is registered twice, as published temporal networks register theirs."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(512, 4)
            self.net = nn.Sequential(self.conv, nn.ReLU(), nn.Flatten(), self.head)
        def forward(self, x):
            return self.net(x)
    return Net()

def make_with_graph():
    """A graph network, whose adjacency is a sparse buffer."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("adjacency", (0.5 * torch.eye(3)).to_sparse())
            self.head = nn.Linear(3 * 64, 4)
        def forward(self, x):
            x = nn.functional.avg_pool2d(x, 4).flatten(2)
            x = torch.stack([torch.sparse.mm(self.adjacency, one) for one in x])
            return self.head(x.flatten(1))
    return Net()

def make_wrong():
    return nn.Flatten(0)

def half_precision(model, context):
    return model.bfloat16().float()

def observes_twice(model, context):
    """Goes through the calibration data two times, as a method that also needs an example does."""
    for _ in range(2):
        for inputs in context.calibration():
            model(inputs)
    return model
'''


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with a user's factories, importable."""
    import sys

    (tmp_path / "tiny_nets.py").write_text(_NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "tiny_nets"
    sys.modules.pop("tiny_nets", None)


@pytest.fixture
def plus_at() -> str:
    """The file and line of the `+` in `make_branching`."""
    return f"tiny_nets.py:{_NETS[: _NETS.index('y + y')].count(chr(10)) + 1}"


@pytest.fixture(autouse=True)
def _no_project_is_left() -> Iterator[None]:
    """What a command that ran in this process took from a project's table ends with its test."""
    yield
    for module, define in (("qreg.data", "define_datasets"), ("qreg.models", "define_models")):
        if module in sys.modules:
            getattr(sys.modules[module], define)(())
