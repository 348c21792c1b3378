"""The steps of eager-mode quantization that several methods share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

from torch import fx, nn
from torch.ao import quantization as ao
from torch.ao.quantization import fake_quantize, observer

from qreg.models.copies import attributes_kept

Weights = Literal["per_channel", "per_tensor"]
_CONV_OR_LINEAR = (nn.Conv2d, nn.Linear)
_CHAINS: tuple[tuple[type[nn.Module], ...], ...] = (
    (nn.Conv2d, nn.BatchNorm2d, nn.ReLU),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv2d, nn.ReLU),
    (nn.Linear, nn.ReLU),
)


def fuse(model: nn.Module) -> nn.Module:
    """Fold BatchNorm and fuse ReLU into the convolutions and linear layers before them."""
    model.eval()
    if hasattr(model, "fuse_model"):
        own: Any = model.fuse_model
        # torchvision's models accept is_qat since 0.11, those of tutorials do not
        own(**({"is_qat": False} if _takes(own, "is_qat") else {}))
        return model
    groups = fusable_groups(model)
    if groups:
        ao.fuse_modules(model, groups, inplace=True)
    return model


def _takes(function: Callable[..., object], name: str) -> bool:
    """Whether a function accepts an argument of this name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold BatchNorm into the convolutions before them, and leave ReLU as it is."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model
    chains = [group[:2] for group in fusable_groups(model)]
    folded = [c for c in chains if isinstance(model.get_submodule(c[1]), nn.BatchNorm2d)]
    if folded:
        ao.fuse_modules(model, folded, inplace=True)
    return model


def fusable_groups(model: nn.Module) -> list[list[str]]:
    """Names of chains Conv-BatchNorm-ReLU, Conv-ReLU, Conv-BatchNorm and Linear-ReLU.

    If torch.fx cannot trace the model, only those that are adjacent in an `nn.Sequential`; other
    layers are quantized one by one.
    """
    try:
        with attributes_kept(model):
            graph = fx.symbolic_trace(model).graph
    except Exception:  # whatever the model's own code raises for proxies
        return list(_in_sequence(model))
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    once = {n.target for n in calls if sum(m.target == n.target for m in calls) == 1}
    groups = [_chain(node, modules, once) for node in calls]
    return [group for group in groups if len(group) > 1]


def _in_sequence(model: nn.Module) -> Iterator[list[str]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            prefix, layers = f"{name}." if name else "", list(module.named_children())
            while layers:
                kinds = [type(layer) for _, layer in layers]
                long = next((len(k) for k in _CHAINS if tuple(kinds[: len(k)]) == k), 1)
                if long > 1:
                    yield [f"{prefix}{child}" for child, _ in layers[:long]]
                layers = layers[long:]


def _chain(node: fx.Node, modules: dict[str, nn.Module], once: set[Any]) -> list[str]:
    layer = modules[str(node.target)]
    if not isinstance(layer, _CONV_OR_LINEAR) or node.target not in once:
        return []
    wanted: list[type[nn.Module]] = [nn.ReLU]
    if isinstance(layer, nn.Conv2d):
        wanted.insert(0, nn.BatchNorm2d)
    chain = [str(node.target)]
    for kind in wanted:
        after = next(iter(node.users), None)
        if after is None or len(node.users) != 1 or after.op != "call_module":
            break
        if isinstance(modules[str(after.target)], kind) and after.target in once:
            chain.append(str(after.target))
            node = after
    return chain


def static_qconfig(engine: str, weights: Weights) -> ao.QConfig:
    """The engine's default activations, with weights observed as `weights` says."""
    weight: Any = observer.default_per_channel_weight_observer
    if weights == "per_tensor":
        weight = observer.default_weight_observer
    return ao.QConfig(activation=ao.get_default_qconfig(engine).activation, weight=weight)


def qat_qconfig(weights: Weights) -> ao.QConfig:
    """Fake quantization with x86's reduced activation range, which every engine supports.

    One checkpoint serves all engines, so that differences between them come from the kernels.
    """
    weight: Any = fake_quantize.default_fused_per_channel_wt_fake_quant
    if weights == "per_tensor":
        weight = fake_quantize.default_fused_wt_fake_quant
    return ao.QConfig(activation=ao.get_default_qat_qconfig("x86").activation, weight=weight)


def set_qconfig(model: nn.Module, qconfig: ao.QConfig) -> nn.Module:
    """Set one qconfig for the whole model."""
    model.qconfig = qconfig  # type: ignore[assignment]
    return model


def set_qconfigs(model: Any, qconfig: ao.QConfig) -> None:
    """Say how each module of a model is quantized, before it is prepared: `static`, `qat` alike."""
    model.qconfig = qconfig
    # PyTorch has no weights with a scale a channel for these; its quantized PReLU
    # multiplies positive values by the slope, too (2.14.1), and so stays float
    per_tensor = ao.QConfig(activation=qconfig.activation, weight=ao.default_weight_observer)
    for module in model.modules():
        if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            module.qconfig = per_tensor  # type: ignore[assignment]
        # nor has it activations of embeddings: they need a qconfig of their own
        if isinstance(module, (nn.PReLU, nn.Embedding, nn.EmbeddingBag)):
            module.qconfig = None  # type: ignore[assignment]
