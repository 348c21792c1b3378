"""Ranges that are observed once for several methods of one model that observe the same values.

Methods that differ in how weights are quantized put the same observers on the same float
activations: what the observers then hold is a function of the model, the observers and the
calibration samples, and the same bits each time.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.ao import quantization as ao

T = TypeVar("T")
# PyTorch's search for the range of a histogram; its name is the same from 2.6 to 2.15.
_SEARCH = "_non_linear_param_search"
_PLAIN = (int, float, str, bool, type(None), torch.dtype, torch.qscheme)


class SharedRanges:
    """The calibration samples of one model's cases, and what observers saw and made of them."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}
        self._samples: Any = None
        self._searched: dict[tuple[Any, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def calibration(self, load: Callable[[], T]) -> T:
        """The calibration samples, loaded for the first case that asks for them."""
        if self._samples is None:
            self._samples = load()
        found: T = self._samples
        return found

    @contextmanager
    def searching_once(self) -> Iterator[None]:
        """Let histogram observers that hold the same bits take the range that was found for them.

        Only PyTorch's own observer: the search of a subclass may depend on more.
        """
        kind: Any = ao.HistogramObserver
        search = vars(kind).get(_SEARCH)
        if search is None:  # not in this version
            yield
            return

        def found(observer: Any) -> tuple[torch.Tensor, torch.Tensor]:
            if type(observer) is not kind:
                return search(observer)  # type: ignore[no-any-return]
            held = (observer.histogram, observer.min_val, observer.max_val)
            key = (
                *(search, kind._compute_quantization_error, kind._get_norm),
                *(str(one.dtype) + str(tuple(one.shape)) for one in held),
                *(one.detach().numpy().tobytes() for one in held),
                *(observer.bins, observer.dst_nbins),
            )
            if key not in self._searched:
                ends, silent = _run(lambda: search(observer))
                if not silent:
                    return ends  # type: ignore[no-any-return]
                self._searched[key] = ends
            low, high = self._searched[key]
            return low.clone(), high.clone()

        setattr(kind, _SEARCH, found)
        try:
            yield
        finally:
            if vars(kind).get(_SEARCH) is found:  # what a method put there stays, as it would alone
                setattr(kind, _SEARCH, search)

    def observe(self, prepared: nn.Module, run: Callable[[], None]) -> None:
        """Run a prepared model on the calibration samples, or give it what was observed before.

        Nothing is kept of a run that warns or changes the model elsewhere: it would be missing.

        Args:
            prepared: with observers that have seen nothing yet.
            run: runs it on all calibration samples.
        """
        observers = _observers(prepared)
        key, rest = _key(prepared, observers), _state(prepared, observers)
        if key in self._kept:
            for name, observer in observers.items():
                observer.__dict__.update(copy.deepcopy(self._kept[key][name]))
            return
        _, silent = _run(run)
        if silent and _state(prepared, observers) == rest:
            seen = {name: copy.deepcopy(vars(observer)) for name, observer in observers.items()}
            self._kept[key] = seen


def _run(work: Callable[[], T]) -> tuple[T, bool]:
    """What a function returns, and whether it warned of nothing; its warnings are given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = work()
    for one in caught:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return found, not caught


def _observers(prepared: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in prepared.named_modules() if isinstance(m, ao.ObserverBase)}


def _key(prepared: nn.Module, observers: dict[str, nn.Module]) -> str:
    """sha256 of the structure, the observers with their settings, and all tensors."""
    found = hashlib.sha256()
    for name, module in prepared.named_modules():
        found.update(f"{name} {type(module).__module__}.{type(module).__qualname__}\n".encode())
        if name in observers:
            settings = {k: v for k, v in vars(module).items() if isinstance(v, _PLAIN)}
            found.update(f"{sorted(settings.items(), key=str)}\n".encode())
    found.update(_state(prepared, {}).encode())
    return found.hexdigest()


def _state(prepared: nn.Module, but: dict[str, nn.Module]) -> str:
    """sha256 of all tensors, but those of these modules."""
    found = hashlib.sha256()
    for name, value in sorted(prepared.state_dict().items()):
        if isinstance(value, torch.Tensor) and name.rpartition(".")[0] not in but:
            tensor = value.detach().contiguous()
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
