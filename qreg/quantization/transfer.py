"""From a network trained by eager QAT to the same network in a successor's graph.

What was learned is carried over as it is: weights, and the scales and zero points of weights and
activations. So a difference between the two is what the successor makes of them.
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

QuantizerInputs = dict[str, torch.Tensor]


def trained_float(trained: nn.Module) -> nn.Module:
    """The float model inside a fake-quantized one: its weights, fused, nothing observed."""
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

    The two run with fake quantization off: counterparts are given the same tensor, bit by bit.
    One without a counterpart stands after a pooling or reshaping, which keep their input's
    parameters in the eager model: it gets those of the nearest before it.

    Args:
        prepared: made from `trained_float(trained)`; changed in place.
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
    return next((name for name, seen in learned.items() if torch.equal(seen, tensor)), "")


def _before(
    name: str, prepared: fx.GraphModule, given: QuantizerInputs, learned: QuantizerInputs
) -> str:
    node = next((n for n in prepared.graph.nodes if n.target == name), None)
    while node is not None and node.all_input_nodes:
        node = node.all_input_nodes[0]
        if node.target in given and (found := _same(given[str(node.target)], learned)):
            return found
    raise UnavailableError(
        f"the successor quantizes where eager QAT learned no range ('{name}' of its graph)",
        hint="train the model with the successor's own QAT, or put the QuantStub there",
    )


def _inputs(model: nn.Module, example: Inputs) -> QuantizerInputs:
    """What each fake-quantizer is given first, in the order they run."""
    seen: QuantizerInputs = {}
    fakes = [(n, m) for n, m in model.named_modules() if hasattr(m, "fake_quant_enabled")]

    def hook(name: str) -> Callable[[nn.Module, Any], None]:
        def keep(module: nn.Module, inputs: Any) -> None:
            seen.setdefault(name, inputs[0].detach().clone())

        return keep

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in fakes]
    try:
        with _switched_off([module for _, module in fakes]):
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return seen


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
