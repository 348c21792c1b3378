"""Transferring a network trained by eager QAT to a successor's graph.

Weights, and the scales and zero points of weights and activations, are transferred unchanged, so
that a difference between the two is due to the successor.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from qreg.data.inputs import Inputs, call
from qreg.errors import UnavailableError
from qreg.quantization.rewriting import SUMS

QuantizerInputs = dict[str, torch.Tensor]


def trained_float(trained: nn.Module) -> nn.Module:
    """The float model inside a fake-quantized one: fused, with its weights and no observers."""
    model = copy.deepcopy(trained)
    for name, module in list(model.named_modules()):
        if hasattr(module, "weight_fake_quant"):
            model.set_submodule(name, module.to_float())
    for module in model.modules():
        if hasattr(module, "activation_post_process"):
            module.activation_post_process = nn.Identity()
            module._forward_hooks.clear()
    return model.eval()


@torch.no_grad()
def transfer_ranges(trained: nn.Module, prepared: fx.GraphModule, example: Inputs) -> None:
    """Give each fake-quantizer of a prepared graph the state of its counterpart in `trained`.

    Both run with fake quantization disabled: counterparts have bit-equal inputs. One without a
    counterpart follows a pooling or reshaping, which keeps its input's parameters in the eager
    model: it gets those of the nearest predecessor.

    Args:
        prepared: built from `trained_float(trained)`; modified in place.
        example: model inputs, not all alike.

    Raises:
        UnavailableError: a fake-quantizer has no counterpart.
    """
    learned, given = _inputs(trained, example), _inputs(prepared, example)
    sources = dict(trained.named_modules())
    for name, tensor in given.items():
        found = _same(tensor, learned) or _before(name, prepared, given, learned)
        prepared.get_submodule(name).load_state_dict(sources[found].state_dict())


def _same(tensor: torch.Tensor, learned: QuantizerInputs) -> str:
    return next((name for name, other in learned.items() if torch.equal(other, tensor)), "")


def _before(
    name: str, prepared: fx.GraphModule, given: QuantizerInputs, learned: QuantizerInputs
) -> str:
    node = next((n for n in prepared.graph.nodes if n.target == name), None)
    while node is not None and node.all_input_nodes:
        node = node.all_input_nodes[0]
        if node.target in SUMS:  # its range is none of its inputs'
            break
        if node.target in given and (found := _same(given[str(node.target)], learned)):
            return found
    raise UnavailableError(
        f"the successor quantizes at '{name}' of its graph, where eager QAT has no range",
        hint="train the model with the successor's own QAT, or add a QuantStub there",
    )


def _inputs(model: nn.Module, example: Inputs) -> QuantizerInputs:
    """The first input of each fake-quantizer, in execution order."""
    first: QuantizerInputs = {}
    fakes = [(n, m) for n, m in model.named_modules() if hasattr(m, "fake_quant_enabled")]

    def hook(name: str) -> Callable[[nn.Module, Any], None]:
        def keep(module: nn.Module, inputs: Any) -> None:
            first.setdefault(name, inputs[0].detach().clone())

        return keep

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in fakes]
    try:
        with _switched_off([module for _, module in fakes]):
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return first


@contextmanager
def _switched_off(fakes: list[Any]) -> Iterator[None]:
    before = [(int(fake.fake_quant_enabled), int(fake.observer_enabled)) for fake in fakes]
    for fake in fakes:
        fake.disable_fake_quant()
        fake.disable_observer()
    try:
        yield
    finally:
        for fake, (quantizes, observes) in zip(fakes, before, strict=True):
            fake.enable_fake_quant(bool(quantizes))
            fake.enable_observer(bool(observes))
