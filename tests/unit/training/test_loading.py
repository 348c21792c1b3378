"""Whose weights are loaded: the factory's, a file's, or a checkpoint's that was trained of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from qreg.data import get_dataset
from qreg.errors import ContractError, MissingCheckpointError, OtherWeightsError
from qreg.measure.options import Options
from qreg.metrics.operators import count_operators
from qreg.models import build_model, define_models
from qreg.models.source import ModelSource
from qreg.quantization import Context, get_method
from qreg.quantization.engines import default_engine, use_engine
from qreg.records.method import CheckpointKind
from qreg.records.weights import WeightsSource
from qreg.training.checkpoints import find_checkpoint
from qreg.training.loading import load_trained
from qreg.training.recipe import Recipe, default_recipe
from qreg.training.run import make_checkpoint

NETS = """
import torch
from torch import nn

VALUE = 0.01

class Late(nn.Linear):
    def forward(self, x):
        if self.training and len(x) > 8:
            raise ValueError("too many")
        return super().forward(x)

def late():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), Late(3072, 4))

def brings():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))
    nn.init.constant_(model[0].bias, VALUE)
    return model

def random():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))

class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 32), nn.Linear(4, 4)
    def forward(self, x):
        x = self.conv(x)
        x += x
        return self.fc(x.flatten(1))

def adds():
    torch.manual_seed(5)
    return Adds()

class Branches(Adds):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)

def branches():
    torch.manual_seed(5)
    return Branches()

def norm_in_head():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

def view():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(256, 4)
        def forward(self, x):
            return self.fc(self.conv(x).view(-1, 256))
    torch.manual_seed(5)
    return Net()

def grey_view():
    # images of one channel are in both orders: the weights decide
    class Grey(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 4, 3, stride=4), nn.Linear(256, 4)
        def forward(self, x):
            return self.fc(self.conv(x[:, :1].contiguous()).view(-1, 256))
    torch.manual_seed(5)
    return Grey()
"""


@pytest.fixture(autouse=True)
def _nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[None]:
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.modules.pop("own_nets", None)
    define_models(())


@pytest.fixture
def train(tmp_path: Path, colours: Path) -> Callable[..., Recipe]:
    """Trains a checkpoint of one epoch into ``tmp_path/out``."""

    def trained(kind: str, factory: str = "brings", batch_size: int = 48) -> Recipe:
        dataset, out = get_dataset(str(colours)), tmp_path / "out"
        recipe = default_recipe(f"own_nets:{factory}", dataset.name, kind)
        options = Options(checkpoints=out)
        return make_checkpoint(
            replace(recipe, epochs=1, batch_size=batch_size),
            dataset=dataset,
            options=options,
            out=out,
            report=lambda step: None,
        )

    return trained


def _loaded(tmp_path: Path, kind: str = "fp32", model: str = "own_nets:brings") -> WeightsSource:
    folders = (tmp_path / "out",)
    _, weights = load_trained(model, "colours", kind, folders, lambda: build_model(model))
    return weights.source


@pytest.mark.parametrize("kind", ["qat", "fp32-finetuned"])
def test_a_fine_tuning_starts_from_brought_weights(
    train: Callable[..., Recipe], kind: str, tmp_path: Path
) -> None:
    done = train(kind)
    assert len(done.starts_from) == 64
    assert _loaded(tmp_path) is WeightsSource.FACTORY


def test_without_brought_weights_and_fp32_there_is_nothing_to_start_from(
    train: Callable[..., Recipe],
) -> None:
    with pytest.raises(MissingCheckpointError) as caught:
        train("qat", "random")
    assert "qreg train" in caught.value.hint


def test_a_checkpoint_of_the_factorys_weights_is_taken(
    train: Callable[..., Recipe], tmp_path: Path
) -> None:
    train("fp32")
    assert _loaded(tmp_path) is WeightsSource.CHECKPOINT


@pytest.mark.parametrize("kinds", [("fp32",), ("fp32", "qat"), ("qat",)])
def test_a_checkpoint_of_other_weights_than_the_factorys_is_refused(
    train: Callable[..., Recipe],
    tmp_path: Path,
    kinds: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in kinds:
        train(kind)
    import own_nets  # type: ignore[import-not-found]

    own_nets.VALUE = 0.0
    monkeypatch.setattr("qreg.models._RETURNED", {})  # as in another process
    with pytest.raises(OtherWeightsError, match="trained from other weights") as caught:
        _loaded(tmp_path, kinds[-1])
    assert "--force" in caught.value.hint


def test_a_checkpoint_of_another_file_of_weights_is_refused(
    train: Callable[..., Recipe], tmp_path: Path
) -> None:
    path = tmp_path / "w.pt"
    state = build_model("own_nets:brings").get_submodule("model").state_dict()
    torch.save(state, path)
    define_models([ModelSource("own_nets:brings", "own_nets:brings", weights=path)])
    assert _loaded(tmp_path) is WeightsSource.FILE
    train("fp32")
    assert _loaded(tmp_path) is WeightsSource.CHECKPOINT
    torch.save({name: tensor * 1.01 for name, tensor in state.items()}, path)
    with pytest.raises(OtherWeightsError):
        _loaded(tmp_path)


def test_what_cannot_be_converted_is_found_before_the_first_epoch(
    train: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match="cannot be converted and run") as caught:
        train("qat", "branches")
    assert "own_nets.py" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert not list(tmp_path.glob("out/**/*.partial"))


def test_a_plain_sum_is_trained_with_a_range_of_its_own(
    train: Callable[..., Recipe], tmp_path: Path, colours: Path
) -> None:
    train("qat", "adds")
    batch = Options().load(get_dataset(str(colours)), "test").first(4).inputs
    assert isinstance(batch, torch.Tensor)
    engine, found = default_engine(), []
    for chosen in map(get_method, ("qat", "fx-qat")):
        build = partial(build_model, "own_nets:adds")
        trained, _ = load_trained(
            "own_nets:adds",
            "colours",
            "qat",
            (tmp_path / "out",),
            lambda method=chosen, build=build: method.skeleton(build()),
        )
        with use_engine(engine), torch.no_grad():
            made = chosen.quantize(trained, Context(engine, lambda: iter((batch,)), batch[:2]))
            found.append(made(batch))
            operators = [one.name for one in count_operators(made, batch)]
        assert [name for name in operators if "::add" in name] == ["quantized::add"]
    assert torch.equal(*found)


def test_what_fails_in_an_epoch_is_named(train: Callable[..., Recipe]) -> None:
    with pytest.raises(
        ContractError, match=r"cannot be trained: 1 \(own_nets.py:\d+\): .*too many"
    ):
        train("fp32", "late")


def test_a_last_batch_of_one_joins_the_one_before_it(train: Callable[..., Recipe]) -> None:
    assert train("fp32", "norm_in_head", batch_size=19).train_images == 96  # 5 x 19 + 1


def test_a_model_that_flattens_with_view_trains(train: Callable[..., Recipe]) -> None:
    assert train("fp32", "view").test_correct > 0
    assert train("fp32", "grey_view").test_correct > 0


def test_a_model_renamed_in_the_table_finds_its_factorys_checkpoint(
    train: Callable[..., Recipe], tmp_path: Path, colours: Path
) -> None:
    train("fp32", "random")
    dataset, folders = get_dataset(str(colours)).name, (tmp_path / "out",)
    factory = "own_nets:random"

    def loaded(source: ModelSource) -> WeightsSource:
        define_models([source])
        build = partial(build_model, source.name)
        return load_trained(source.name, dataset, CheckpointKind.FP32, folders, build)[1].source

    assert loaded(ModelSource("own", factory)) is WeightsSource.CHECKPOINT
    # another structure is another model: its checkpoint has its own name
    wider = ModelSource("wide", factory, (("width", 3),))
    define_models([wider])
    with pytest.raises(MissingCheckpointError, match="wide"):
        find_checkpoint(folders, "wide", dataset, CheckpointKind.FP32)
