"""A file of weights as others save it, given to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qreg.errors import CheckpointError
from qreg.models.weights import load_weights


class Net(nn.Module):
    """A convolution and its BatchNorm under `body`, as networks that a trainer wraps have it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.body(x).mean((2, 3)))


def _state(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return Net().state_dict()


def _loaded(saved: object, folder: Path, model: nn.Module | None = None) -> dict[str, torch.Tensor]:
    torch.save(saved, folder / "w.pt")
    model = Net() if model is None else model
    load_weights(model, folder / "w.pt", name="nets:net")
    return model.state_dict()


def _same(found: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "a.b."])
def test_what_others_put_before_every_name(prefix: str, tmp_path: Path) -> None:
    state = _state()
    assert _same(_loaded({prefix + n: t for n, t in state.items()}, tmp_path), state)


def test_names_that_are_the_models_own_are_not_shortened(tmp_path: Path) -> None:
    model = nn.ModuleDict({"module": Net()})
    state = {f"module.{name}": tensor for name, tensor in _state().items()}
    assert _same(_loaded(state, tmp_path, model), state)


def test_a_state_of_the_time_before_batchnorm_counted_its_batches(tmp_path: Path) -> None:
    """As the published ResNets for CIFAR-10 of 2018, in DataParallel, with their accuracy."""
    old = {f"module.{n}": t for n, t in _state().items() if not n.endswith("num_batches_tracked")}
    found = _loaded({"best_prec1": 91.78, "state_dict": old}, tmp_path)
    assert _same(found, {name.removeprefix("module."): tensor for name, tensor in old.items()})


def test_modules_that_know_older_names_of_theirs_read_them(tmp_path: Path) -> None:
    """A module's own migration goes by the version that was saved with the state."""
    versions: list[Any] = []

    class Renamed(nn.Linear):
        _version = 2

        def _load_from_state_dict(self, state: Any, prefix: str, meta: Any, *rest: Any) -> None:
            versions.append(meta.get("version"))
            if meta.get("version", 1) < 2:
                state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")
            super()._load_from_state_dict(state, prefix, meta, *rest)

    state = Renamed(2, 2).state_dict()
    assert _same(_loaded(state, tmp_path, nn.Sequential(Renamed(2, 2))[0]), state)
    old = {"kernel": state["weight"], "bias": state["bias"]}
    assert _same(_loaded(old, tmp_path, Renamed(2, 2)), state)
    assert versions == [2, None]


@pytest.mark.parametrize("name", ["ema", "generator", "net"])
def test_the_only_state_in_what_was_saved(name: str, tmp_path: Path) -> None:
    state = _state()
    optimizer = torch.optim.SGD(Net().parameters(), lr=0.1).state_dict()
    saved = {"epoch": 3, name: state, "optimizer": optimizer, "scheduler": {}}
    assert _same(_loaded(saved, tmp_path), state)


def test_of_several_states_none_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no state dict"):
        _loaded({"teacher": _state(1), "student": _state(2)}, tmp_path)
    assert _same(_loaded({"ema": _state(1), "model": _state(2)}, tmp_path), _state(2))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("head.bias"), "lacks head.bias"),
        (lambda s: s.update(more=torch.ones(1)), "has more: more"),
        (
            lambda s: s.update({"head.bias": torch.ones(3), "more": torch.ones(1)}),
            "has more: more; other shape: head.bias",
        ),
        (lambda s: s.clear(), "lacks body.0.weight and 7 more"),
    ],
)
def test_what_does_not_fit_is_one_line(change: Any, says: str, tmp_path: Path) -> None:
    state = dict(_state())
    change(state)
    with pytest.raises(CheckpointError, match=says) as caught:
        _loaded(state, tmp_path)
    assert "\n" not in str(caught.value)
