"""Weights that a project brings: from a file, or out of its factory; and their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.errors import CheckpointError

# What training scripts commonly save a state dict under.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PARALLEL = "module."  # before every name that DataParallel saved


def state_digest(model: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of a model's state dict."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            tensor = value.detach().contiguous()
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load_weights(model: nn.Module, path: Path, *, name: str) -> None:
    """Give a model the tensors in a file: safetensors, or a state dict saved by `torch.save`.

    Nothing in the file is executed: it is read with ``weights_only=True``.

    Raises:
        CheckpointError: there is no such file, it cannot be read, or does not fit the model.
    """
    state = _plain_names(_read(path))
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [n for n in own if n in state and own[n].shape != state[n].shape]
    parts = (("lacks", missing), ("has more:", unknown), ("other shape:", wrong))
    texts = [f"{what} {_some(names)}" for what, names in parts if names]
    if texts:
        raise CheckpointError(
            f"{path} does not fit model '{name}': {'; '.join(texts)}",
            hint="give the weights of this very architecture and these arguments",
        )
    model.load_state_dict(state)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(
            f"no weights at {path}", hint="weights in [tool.qreg] is relative to pyproject.toml"
        )
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_saved(path)
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
            break
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise CheckpointError(
            f"{path} holds no state dict of tensors",
            hint="save it with: torch.save("
            "model.state_dict(), FILE), or safetensors.torch.save_file",
        )
    return found


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: {error}", hint="it is no safetensors file") from error


def _read_saved(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes its reader fail in every way there is
        first = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"{path} cannot be read with weights_only=True: {first}",
            hint="save only the state dict: torch.save(model.state_dict(), FILE)",
        ) from error


def _plain_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if all(name.startswith(_PARALLEL) for name in state):
        return {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    return state
