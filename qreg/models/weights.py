"""Weights that a project brings: from a file, or out of its factory; and their digests."""

from __future__ import annotations

import hashlib
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.errors import CheckpointError
from qreg.files import open_regular, read_regular

# What training scripts commonly save a state dict under, where they save several.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
# Bytes of names and shapes; and how many times the weights a saved training state may have: those
# of an optimizer, an average, in double precision.
_HEADER, _TIMES = 1 << 22, 8


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as one number after another: a sparse one (a graph's adjacency) with its zeros."""
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def dense_bytes(value: Any) -> int:
    """Bytes of a tensor as `dense` gives it; 0 of anything else."""
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def laid_out(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A state whose tensors are sparse where those of the model's own state are."""
    found = OrderedDict((name, _laid_out(value, own.get(name))) for name, value in state.items())
    if hasattr(state, "_metadata"):  # the version of each module, by which it reads older states
        found._metadata = state._metadata  # type: ignore[attr-defined]
    return found


def _laid_out(value: Any, own: Any) -> Any:
    both = isinstance(value, torch.Tensor) and isinstance(own, torch.Tensor)
    if not both or own.layout is torch.strided or value.layout is not torch.strided:
        return value
    return value.to_sparse(layout=own.layout)


def state_digest(model: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of a model's state dict."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            tensor = dense(value.detach()).contiguous()
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load_weights(model: nn.Module, path: Path, *, name: str) -> None:
    """Give a model the tensors in a file: safetensors, or a state dict saved by `torch.save`.

    Nothing in the file is executed: it is read with ``weights_only=True``.

    Raises:
        CheckpointError: there is no such file, it cannot be read, or does not fit the model.
    """
    own = model.state_dict()
    state = _own_names(_read(path, most=_most(own)), own)
    wrong: list[str] = []
    try:
        # What may be missing, as the counters that BatchNorm had not before PyTorch 0.4.1, is
        # known to the modules.
        missing, unknown = model.load_state_dict(laid_out(state, own), strict=False)
    except RuntimeError as error:
        wrong = [n for n in own if n in state and own[n].shape != state[n].shape]
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if not wrong:
            raise _unfit(name, path, str(error).strip().rpartition("\n")[2].strip()) from error
    parts = (("lacks", missing), ("has more:", unknown), ("other shape:", wrong))
    if texts := [f"{what} {_some(names)}" for what, names in parts if names]:
        raise _unfit(name, path, "; ".join(texts))


def _unfit(name: str, path: Path, text: str) -> CheckpointError:
    hint = "give the weights of this very architecture and these arguments"
    return CheckpointError(f"{path} does not fit model '{name}': {text}", hint=hint)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _most(state: dict[str, Any]) -> int:
    """Bytes that a file of a model's weights may have: twice theirs, and a header."""
    return 2 * sum(map(dense_bytes, state.values())) + _HEADER


def _read(path: Path, *, most: int) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(
            f"no weights at {path}", hint="weights in [tool.qreg] is relative to pyproject.toml"
        )
    if path.suffix == ".safetensors":
        found = _read_safetensors(path, most=most)
    else:
        found = _read_saved(path, most=_TIMES * most)
    state: dict[str, torch.Tensor] = _unwrapped(found)
    if not _is_state(state):
        raise CheckpointError(
            f"{path} holds no state dict of tensors",
            hint="save it with: torch.save("
            "model.state_dict(), FILE), or safetensors.torch.save_file",
        )
    return state


def _is_state(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(v, torch.Tensor) for v in found.values())


def _unwrapped(found: Any) -> Any:
    """The state dict in what a training script saved with it, under whatever name."""
    if not isinstance(found, dict) or _is_state(found):
        return found
    states = {name: value for name, value in found.items() if value and _is_state(value)}
    for wrapper in _WRAPPERS:
        if wrapper in states:
            return states[wrapper]
    return next(iter(states.values())) if len(states) == 1 else found


def _read_safetensors(path: Path, *, most: int) -> Any:
    from safetensors.torch import load

    try:
        return load(read_regular(path, most=most))
    except Exception as error:  # also of dtypes that this torch does not know
        text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        hint = "it is no safetensors file of this model"
        raise CheckpointError(f"{path}: {text}", hint=hint) from error


def _read_saved(path: Path, *, most: int) -> Any:
    try:
        with open_regular(path, most=most):
            _refuse_packed(path, most)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes its reader fail in every way there is
        first = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"{path} cannot be read with weights_only=True: {first}",
            hint="save only the state dict: torch.save(model.state_dict(), FILE)",
        ) from error


def _refuse_packed(path: Path, most: int) -> None:
    """`torch.save` packs nothing: what unpacks to more than it may have is a trap."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")


def _own_names(state: dict[str, torch.Tensor], own: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A state without what others put before every name: `module.` (DataParallel), `_orig_mod.`
    (torch.compile), `model.` (Lightning)."""
    prefix, names = "", set(state)
    while not any(name in own for name in names):
        firsts = {name.partition(".")[0] for name in names}
        if len(firsts) != 1 or not all("." in name for name in names):
            return state
        first = f"{firsts.pop()}."
        prefix, names = prefix + first, {name.removeprefix(first) for name in names}
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, prefix)
    return state
