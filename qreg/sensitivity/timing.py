"""How much faster a layer's int8 kernel is than its float one, in place, at batch 1."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from qreg.data.inputs import Inputs, call
from qreg.metrics.graphs import exported_graph
from qreg.quantization.engines import use_engine
from qreg.sensitivity.measuring import Prepared
from qreg.sensitivity.records import SitePart

# Interleaved rounds, after untimed ones.
_ROUNDS, _WARM_UP = 9, 2


@torch.no_grad()
def saved_milliseconds(ready: Prepared) -> dict[str, float]:
    """Milliseconds by which each layer with a quantized weight is faster, by its name.

    The median over interleaved rounds; a layer's conversions between float and int8, where they
    are modules of their own, are not in it. Empty for an exported graph, which has no modules.
    """
    if exported_graph(ready.subject.model):
        return {}
    sites = (switch.site for switch in ready.simulation.switches)
    names = [site.layer for site in sites if site.part is SitePart.WEIGHT]
    ready.simulation.set(())
    models = (ready.simulation.model, ready.subject.model)
    one = ready.test.first(1).inputs
    seconds: list[dict[str, list[float]]] = [{}, {}]
    with use_engine(ready.case.engine):
        for turn in range(_WARM_UP + _ROUNDS):
            for model, times in zip(models, seconds, strict=True):
                for name, spent in _times(model, one, names).items():
                    if turn >= _WARM_UP:
                        times.setdefault(name, []).append(spent)
    plain, quantized = seconds
    return {
        name: float(np.median(plain[name]) - np.median(quantized[name])) * 1000
        for name in names
        if name in plain and name in quantized
    }


def _times(model: nn.Module, inputs: Inputs, names: list[str]) -> dict[str, float]:
    """Seconds that each module ran."""
    started: dict[str, float] = {}
    spent: dict[str, float] = {}
    handles = []
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            continue

        def before(module: nn.Module, inputs: Any, *, key: str = name) -> None:
            started[key] = time.perf_counter()

        def after(module: nn.Module, inputs: Any, output: Any, *, key: str = name) -> None:
            spent[key] = spent.get(key, 0.0) + time.perf_counter() - started[key]

        handles += [
            modules[name].register_forward_pre_hook(before),
            modules[name].register_forward_hook(after),
        ]
    try:
        call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return spent
