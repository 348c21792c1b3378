from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qreg.data import get_dataset
from qreg.data.files import file_sha256
from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.models import build_model
from qreg.training.checkpoints import checkpoint_path, load_checkpoint
from qreg.training.loop import Step, learning_rate
from qreg.training.recipe import Recipe, default_recipe
from qreg.training.run import make_checkpoint


def _recipe(kind: str = "fp32") -> Recipe:
    recipe = default_recipe("tiny_nets:make_net", "colours", kind)
    return replace(recipe, epochs=3, batch_size=16, augment=True)


class _InterruptError(Exception):
    pass


class _StopAfter:
    """Reports steps, and interrupts the training after some of them."""

    def __init__(self, steps: int = 10**9) -> None:
        self.left = steps
        self.epochs: list[int] = []

    def __call__(self, step: Step) -> None:
        self.epochs.append(step.epoch)
        self.left -= 1
        if self.left == 0:
            raise _InterruptError


def _train(recipe: Recipe, folder: Path, colours: Path, report: _StopAfter) -> Recipe:
    dataset = get_dataset(str(colours))
    return make_checkpoint(
        recipe, dataset=dataset, options=Options(checkpoints=folder), out=folder, report=report
    )


@pytest.fixture(autouse=True)
def _one_thread(own_cache: Path, nets: str) -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_learns_and_records_what_it_did(tmp_path: Path, colours: Path) -> None:
    done = _train(_recipe(), tmp_path, colours, _StopAfter())
    assert done.test_total == 40
    assert done.test_correct > 30, "four colours, chance is 10"
    assert done.train_images == 96
    assert done.torch == torch.__version__.partition("+")[0]
    path = checkpoint_path(tmp_path, done.model, done.dataset, "fp32")
    assert file_sha256(path) == done.sha256
    assert path.with_suffix(".json").exists()
    assert not path.with_suffix(".partial").exists()


@pytest.mark.parametrize("kind", ["fp32", "qat"])
@pytest.mark.parametrize(
    "steps", [8, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 6, 17))]
)
def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, colours: Path, kind: str, steps: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        if kind != "fp32":
            _train(_recipe(), folder, colours, _StopAfter())
    expected = _train(_recipe(kind), whole, colours, _StopAfter())
    with pytest.raises(_InterruptError):
        _train(_recipe(kind), parts, colours, _StopAfter(steps))
    path = checkpoint_path(parts, expected.model, expected.dataset, kind)
    assert not path.exists(), "nothing half-trained under a final name"
    again = _StopAfter()
    found = _train(_recipe(kind), parts, colours, again)
    assert found.sha256 == expected.sha256
    finished = (steps - 1) // 6
    assert again.epochs[0] == finished, "finished epochs are not trained again"


def test_the_state_of_another_recipe_is_not_continued(tmp_path: Path, colours: Path) -> None:
    with pytest.raises(_InterruptError):
        _train(_recipe(), tmp_path, colours, _StopAfter(8))
    report = _StopAfter()
    _train(replace(_recipe(), seed=9), tmp_path, colours, report)
    assert report.epochs[0] == 0


def test_a_damaged_state_costs_only_time(tmp_path: Path, colours: Path) -> None:
    with pytest.raises(_InterruptError):
        _train(_recipe(), tmp_path, colours, _StopAfter(8))
    state = next(tmp_path.rglob("*.partial"))
    state.write_bytes(state.read_bytes()[:100])
    report = _StopAfter()
    _train(_recipe(), tmp_path, colours, report)
    assert report.epochs[0] == 0


_KILLED = """
import sys
from qreg.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_training_goes_on_where_it_was(tmp_path: Path, colours: Path) -> None:
    command = [sys.executable, "-c", _KILLED, "train", "--model", "tiny_nets:make_net"]
    command += ["--dataset", str(colours), "--epochs", "400", "--threads", "1"]
    command += ["--out", str(tmp_path / "out")]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").rglob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    report = _StopAfter(1)
    recipe = default_recipe("tiny_nets:make_net", "colours", "fp32")
    with pytest.raises(_InterruptError):
        _train(replace(recipe, epochs=400), tmp_path / "out", colours, report)
    assert report.epochs[0] > 0


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    recipe = _recipe()
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert rates.index(max(rates)) in (29, 30)
    assert rates[0] < rates[10] < rates[29]
    assert rates[40] > rates[70] > rates[99]
    assert rates[99] < 0.01 * recipe.learning_rate


def test_a_loss_that_is_not_finite_ends_it_and_nothing_is_stored(
    tmp_path: Path, colours: Path
) -> None:
    recipe = replace(_recipe(), learning_rate=100.0, epochs=10)
    with pytest.raises(
        QregError, match=r"the loss is nan in epoch \d, \d+\. batch|not finite"
    ) as e:
        _train(recipe, tmp_path, colours, _StopAfter())
    assert "--learning-rate" in str(e.value.hint)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("factory", ["make_of_two_names", "make_with_graph"])
def test_states_that_safetensors_does_not_take_as_they_are(
    tmp_path: Path, colours: Path, factory: str
) -> None:
    recipe = replace(_recipe(), model=f"tiny_nets:{factory}")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = _train(recipe, whole, colours, _StopAfter())
    with pytest.raises(_InterruptError):
        _train(recipe, parts, colours, _StopAfter(8))
    assert _train(recipe, parts, colours, _StopAfter()).sha256 == expected.sha256
    path = checkpoint_path(whole, recipe.model, recipe.dataset, "fp32")
    loaded, _ = load_checkpoint(path, lambda: build_model(recipe.model))
    state = build_model(recipe.model).state_dict()
    assert [x.layout for x in loaded.state_dict().values()] == [x.layout for x in state.values()]
