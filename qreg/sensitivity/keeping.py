"""What stays in float where layers are left in float: the layers' weights, and activations.

A weight is float where its layer is. An activation is float where all that read it are, and where
no quantized kernel writes it: what has no range of its own, such as pooling, passes it on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import fx

from qreg.sensitivity.records import SitePart
from qreg.sensitivity.switches import Simulation, Switch, WeightSwitch


def keepable_layers(simulation: Simulation) -> tuple[str, ...]:
    """The layers that can be left in float, in execution order."""
    sites = (switch.site for switch in simulation.switches)
    return tuple(dict.fromkeys(site.layer for site in sites if site.keepable))


def readers(simulation: Simulation) -> dict[int, frozenset[str] | None]:
    """For each activation's switch, the layers that read it; None where it is not known."""
    activations = [
        n for n, one in enumerate(simulation.switches) if one.site.part is SitePart.OUTPUT
    ]
    if simulation.traced is None:
        return dict.fromkeys(activations)
    layers = dict(_layers(simulation.traced, simulation.switches))
    weights = {node: layer for node, layer in layers.items() if _is_weight(simulation.traced, node)}
    places = {node: layer for node, layer in layers.items() if node not in weights}
    read: dict[int, frozenset[str] | None] = {}
    for number in activations:
        target = simulation.switches[number].target
        nodes = [node for node in places if node.target == target]
        read[number] = frozenset(
            reader for node in nodes for reader in _readers(node, places, weights)
        )
    return read


def _layers(graph: fx.GraphModule, switches: tuple[Switch, ...]) -> Iterator[tuple[fx.Node, str]]:
    by_target = {switch.target: switch.site.layer for switch in switches}
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target in by_target:
            yield node, by_target[str(node.target)]


def _is_weight(graph: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(graph.get_submodule(str(node.target)), WeightSwitch)


def _readers(
    node: fx.Node, places: dict[fx.Node, str], weights: dict[fx.Node, str]
) -> Iterator[str]:
    for user in node.users:
        own = next((weights[one] for one in user.all_input_nodes if one in weights), None)
        if user in places:
            yield places[user]
        elif own is not None:
            yield own  # an operator of an exported graph, by its weight
        else:
            yield from _readers(user, places, weights)


def quantized_sites(
    simulation: Simulation, read: dict[int, frozenset[str] | None], keep: Collection[str]
) -> frozenset[int]:
    """The positions of the switches that stay on with these layers in float."""
    kept = frozenset(keep)
    on = set()
    for number, switch in enumerate(simulation.switches):
        site = switch.site
        if site.part is SitePart.OUTPUT:
            by = read[number]
            written = not switch.kernel or site.layer in kept
            if by is None or not (written and by <= kept) or not kept:
                on.add(number)
        elif site.layer not in kept:
            on.add(number)
    return frozenset(on)
