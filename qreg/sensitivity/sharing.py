"""Running a network again from the first operator that a switch changes, not from its input.

One run of a batch keeps the value of every operator. Where a site is switched, only the operators
that depend on it are run again: half of the network on average, and none where it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import fx

from qreg.data.inputs import Inputs, named
from qreg.sensitivity.switches import Simulation

#: Values that are kept of one batch, and the largest batch.
MOST_BYTES, LARGEST_BATCH = 256_000_000, 100
Values = dict[fx.Node, Any]


class SharedRuns:
    """Runs a simulation with some sites switched, from the values of one run of the batch.

    Args:
        sample: a batch to try it on; where the graph does not compute what the model does, all
            runs are of the whole model.

    Attributes:
        shared: whether runs share prefixes.
    """

    def __init__(self, simulation: Simulation, sample: Inputs) -> None:
        self.simulation = simulation
        self._graph = simulation.traced
        self._changing: frozenset[fx.Node] = frozenset()
        self._starts: dict[int, frozenset[fx.Node]] = {}
        self._on: frozenset[int] = frozenset()
        self._inputs: Inputs = sample
        self._values: Values = {}
        self._whole: Any = None
        self.bytes_per_sample = 0
        if self._graph is not None:
            self._starts = _starts(simulation, self._graph)
            self._try(sample)

    @property
    def shared(self) -> bool:
        """Whether the runs share prefixes."""
        return self._graph is not None

    def _try(self, sample: Inputs) -> None:
        assert self._graph is not None
        everything = range(len(self.simulation.switches))
        for on in (frozenset[int](), frozenset(everything)):
            self.simulation.set(on)
            wanted = self.simulation.run(sample)
            try:
                self._changing |= frozenset(_changing(self._graph, sample))
                found = self.base(sample, on)
            except Exception:
                self._graph = None
                break
            if not _equal(found, wanted) or len(self._starts) < len(everything):
                self._graph = None
                break
        if self._graph is not None:
            kept = sum(map(_bytes, self._values.values()))
            self.bytes_per_sample = kept // max(1, named(sample)[0][1].shape[0])
        self._values = {}
        self.simulation.set(())

    @property
    def batch(self) -> int:
        """Samples per batch whose kept values fit into `MOST_BYTES`."""
        most = MOST_BYTES // self.bytes_per_sample if self.bytes_per_sample else LARGEST_BATCH
        return max(1, min(LARGEST_BATCH, most))

    def base(self, inputs: Inputs, on: Collection[int]) -> Any:
        """Outputs with these sites quantized; further runs of the batch start from this one."""
        self._inputs, self._on = inputs, frozenset(on)
        self.simulation.set(self._on)
        if self._graph is None:
            self._whole = self.simulation.run(inputs)
            return self._whole
        self._values = dict(_given(self._graph, inputs))
        for node in self._graph.graph.nodes:
            if node not in self._values:
                self._values[node] = self._run(node, self._values, {})
        return self._values[_output(self._graph)]

    def switched(self, sites: Collection[int]) -> Any:
        """Outputs of the batch with these sites switched to the other state.

        Some of the sites may be of one layer; all are as in the last `base` afterwards.
        """
        on = self._on.symmetric_difference(sites)
        self.simulation.set(on)
        try:
            if self._graph is None:
                return self.simulation.run(self._inputs)
            return self._rerun(frozenset().union(*(self._starts[one] for one in sites)))
        finally:
            self.simulation.set(self._on)

    def _rerun(self, starts: frozenset[fx.Node]) -> Any:
        assert self._graph is not None
        changed: Values = {}
        for node in self._graph.graph.nodes:
            if node in starts or any(one in changed for one in node.all_input_nodes):
                value = self._run(node, changed, self._values)
                if not (node in starts and _equal(value, self._values[node])):
                    changed[node] = value
        output = _output(self._graph)
        return changed.get(output, self._values[output])

    def _run(self, node: fx.Node, values: Values, others: Values) -> Any:
        def value(one: fx.Node) -> Any:
            found = values[one] if one in values else others[one]
            # what works in place must not change a value that is kept
            if node in self._changing and isinstance(found, torch.Tensor):
                return found.clone()
            return found

        assert self._graph is not None
        return _computed(self._graph, node, value)


def _computed(graph: fx.GraphModule, node: fx.Node, value: Any) -> Any:
    args = fx.node.map_arg(node.args, value)
    kwargs = fx.node.map_arg(node.kwargs, value)
    target: Any = node.target
    if node.op == "call_module":
        return graph.get_submodule(target)(*args, **kwargs)
    if node.op == "call_function":
        return target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if node.op == "get_attr":
        found: Any = graph
        for part in str(target).split("."):
            found = getattr(found, part)
        return found
    assert node.op == "output"
    return _output_value(graph, args[0])


def _output_value(graph: fx.GraphModule, value: Any) -> Any:
    """The output as the model's caller gets it: an exported graph wraps it in a tuple."""
    code = graph.graph._codegen
    process = getattr(code, "process_outputs", None)
    return process(value) if process is not None else value


def _given(graph: fx.GraphModule, inputs: Inputs) -> Iterator[tuple[fx.Node, Any]]:
    places = [node for node in graph.graph.nodes if node.op == "placeholder"]
    by_name = inputs if isinstance(inputs, dict) else {}
    ordered = list(inputs if isinstance(inputs, tuple) else (inputs,)) if not by_name else []
    for number, node in enumerate(places):
        name = str(node.target).lstrip("*")
        if name in by_name:
            yield node, by_name[name]
        elif number < len(ordered):
            yield node, ordered[number]
        elif node.args:
            yield node, node.args[0]
        else:
            raise ValueError(f"no input '{name}'")


def _starts(simulation: Simulation, graph: fx.GraphModule) -> dict[int, frozenset[fx.Node]]:
    """The operators at which each switch takes effect, of those that have any."""
    found: dict[int, frozenset[fx.Node]] = {}
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    for number, switch in enumerate(simulation.switches):
        nodes = frozenset(
            node for node in calls if f"{switch.target}.".startswith(f"{node.target}.")
        )
        if nodes:
            found[number] = nodes
    return found


def _changing(graph: fx.GraphModule, sample: Inputs) -> Iterator[fx.Node]:
    """The operators that change a tensor they are given."""
    values: Values = dict(_given(graph, sample))
    for node in graph.graph.nodes:
        if node in values:
            continue
        given = [values[one] for one in node.all_input_nodes]
        tensors = [one for one in given if isinstance(one, torch.Tensor)]
        before = [one._version for one in tensors]
        values[node] = _computed(graph, node, values.__getitem__)
        if before != [one._version for one in tensors]:
            yield node


def _output(graph: fx.GraphModule) -> fx.Node:
    found: fx.Node = next(node for node in reversed(graph.graph.nodes) if node.op == "output")
    return found


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and bool(torch.equal(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _bytes(value: Any) -> int:
    return value.nbytes if isinstance(value, torch.Tensor) and value.ndim else 0
