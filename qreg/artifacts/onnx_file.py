"""ONNX models run by onnxruntime: loading, running, describing.

onnx and onnxruntime are extras of the project, imported when a model is loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from qreg.artifacts.names import FileFormat
from qreg.artifacts.onnx_graph import OnnxGraph, OnnxLayer, bits_of, dtype_name
from qreg.data import inputs as model_inputs
from qreg.data.inputs import Inputs
from qreg.errors import ModelFileError, UnavailableError
from qreg.files import read_regular
from qreg.metrics.tensors import digest, sqnr
from qreg.records.measurement import Size
from qreg.records.model_file import ModelFile
from qreg.records.numerics import Layer, OperatorCount, Quantizer

PROVIDER = "CPUExecutionProvider"
#: The environment variable with the level of graph optimization, as onnxruntime calls it.
LEVEL = "QREG_ORT_LEVEL"
_LEVELS = ("disable", "basic", "extended", "all")
_SILENT = 4  # only fatal errors are logged: what fails is raised, too
_HINT = "pip install 'qreg[onnx]'"
_LONGEST = 220
_NO_OPERATOR = re.compile(
    r"No Op registered for (\w+) |([\w.:]+)\S* is not a registered function/op"
)
_NO_KERNEL = re.compile(r"Could not find an implementation for (\S+)")


def need_onnx(*names: str) -> tuple[ModuleType, ...]:
    """Import onnx and onnxruntime, or these modules.

    Raises:
        UnavailableError: one is not installed, or cannot be imported.
    """
    try:
        return tuple(map(importlib.import_module, names or ("onnx", "onnxruntime")))
    except ImportError as error:
        lacking = UnavailableError(f"an ONNX model needs onnx and onnxruntime: {error}", hint=_HINT)
        lacking.lacks = "onnxruntime"
        raise lacking from error


def graph_level() -> str:
    """The level of graph optimization: ``QREG_ORT_LEVEL``, else "all", onnxruntime's default.

    Raises:
        ModelFileError: it is no level.
    """
    level = os.environ.get(LEVEL, "all")
    if level not in _LEVELS:
        raise ModelFileError(f"{LEVEL}={level}", hint=f"from {', '.join(_LEVELS)}")
    return level


def session_options() -> Any:
    """Options of a session: PyTorch's number of threads, deterministic, without log."""
    (ort,) = need_onnx("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = _SILENT
    # waiting threads that spin would slow down the models that are measured next to it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    levels = ort.GraphOptimizationLevel
    level = graph_level().upper()
    name = "ORT_DISABLE_ALL" if level == "DISABLE" else f"ORT_ENABLE_{level}"
    options.graph_optimization_level = getattr(levels, name)
    return options


class OnnxModel(nn.Module):
    """An ONNX model with a session of onnxruntime; called like the model it was exported from.

    Args:
        content: the serialized model.
        name: in messages.
        folder: of its external data, if it has any.
        file: its facts.
        session: a session of it; by default a new one.
        structure: of its outputs, see `like`.
    """

    def __init__(
        self,
        content: bytes,
        *,
        name: str,
        folder: Path | None = None,
        file: ModelFile,
        session: Any = None,
        structure: Any = None,
    ) -> None:
        super().__init__()
        self.content, self.name, self.folder, self.file = content, name, folder, file
        self._session, self._other = session, None
        self._graph: OnnxGraph | None = None
        self._observing: Any = None
        self.structure = structure
        inputs = self.session.get_inputs()
        self.input_names = tuple(one.name for one in inputs)
        self._types = tuple(_DTYPES.get(one.type) for one in inputs)
        self.shapes = tuple(tuple(one.shape) for one in inputs)
        self.fixed_batch = _fixed_batch(self.shapes)

    def __deepcopy__(self, memo: Any) -> OnnxModel:
        return self  # it is never modified, and a session cannot be copied

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_session": None,
            "_other": None,
            "_observing": None,
            "_graph": None,
        }

    @property
    def session(self) -> Any:
        """The session, created at first use."""
        if self._session is None:
            self._session = self._start(self.content, session_options())
        return self._session

    @property
    def graph(self) -> OnnxGraph:
        """What the model holds."""
        if self._graph is None:
            self._graph = OnnxGraph(_with_data(self.content, self.folder))
        return self._graph

    def _start(self, content: bytes, options: Any) -> Any:
        (ort,) = need_onnx("onnxruntime")
        if self.folder is not None:
            key = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(key, str(self.folder))
        try:
            return ort.InferenceSession(content, options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime has exceptions of its own, without a base class
            raise ModelFileError(
                f"{self.name}: onnxruntime {ort.__version__} cannot load it: "
                f"{runtime_reason(error)}",
                hint=_load_hint(str(error)),
            ) from error

    def reloaded(self) -> OnnxModel:
        """The same model in another session; that in which `operators` were counted will do."""
        session = self._other or self._start(self.content, session_options())
        self._other = None
        return OnnxModel(
            self.content,
            name=self.name,
            folder=self.folder,
            file=self.file,
            session=session,
            structure=self.structure,
        )

    def changed(self, change: Callable[[OnnxGraph], None]) -> OnnxModel:
        """The model with a changed graph, its external data inside; `change` works in place."""
        graph = OnnxGraph(_with_data(self.content, self.folder))
        change(graph)
        again = model_of(graph.model.SerializeToString(), name=self.name)
        again.structure = self.structure
        return again

    def embedded(self) -> bytes:
        """The serialized model with its external data inside."""
        if self.folder is None:
            return self.content
        content: bytes = self.graph.model.SerializeToString()
        return content

    def forward(self, *args: Any, **named: Any) -> Any:
        given: Any = named or (args if len(args) > 1 else args[0])
        return self._shaped(self._run(self.session, None, given))

    def like(self, outputs: Any) -> OnnxModel:
        """Give its outputs the structure of the float model's, where they are as many."""
        leaves, structure = pytree.tree_flatten(outputs)
        if len(leaves) == len(self.session.get_outputs()):
            self.structure = structure
        return self

    def _shaped(self, values: Sequence[torch.Tensor]) -> Any:
        if self.structure is not None:
            return pytree.tree_unflatten(values, self.structure)
        if len(values) == 1:
            return values[0]
        names = (one.name for one in self.session.get_outputs())
        return dict(zip(names, values, strict=True))

    def _run(self, session: Any, wanted: Sequence[str] | None, given: Any) -> list[torch.Tensor]:
        feed = self._feed(given)
        size = self.fixed_batch
        count = len(next(iter(feed.values())))
        try:
            if not size or count == size:
                found = session.run(wanted, feed)
            else:
                found = _in_batches(session, wanted, feed, count, size)
        except Exception as error:
            raise ModelFileError(
                f"{self.name}: onnxruntime fails on inputs {_shapes(feed)}: "
                f"{runtime_reason(error)}",
                hint=f"it takes {self._signature()}; export it with a dynamic batch dimension",
            ) from error
        return [torch.from_numpy(np.ascontiguousarray(one)) for one in found]

    def _feed(self, given: Any) -> dict[str, Any]:
        named = self._by_name(given)
        return {
            name: _as_type(named[name], kind)
            for name, kind in zip(self.input_names, self._types, strict=True)
        }

    def _by_name(self, given: Any) -> dict[str, torch.Tensor]:
        if isinstance(given, Mapping):
            named = dict(given)
            if set(self.input_names) <= named.keys():
                return named
        else:
            tensors = given if isinstance(given, tuple) else (given,)
            named = dict(zip(self.input_names, tensors, strict=False))
            if len(tensors) == len(self.input_names):
                return named
            named = {str(number): one for number, one in enumerate(tensors)}
        raise ModelFileError(
            f"{self.name} takes {self._signature()}; it is given "
            f"{', '.join(named) if isinstance(given, Mapping) else _tensors(len(named))}",
            hint="inputs are matched by name where the dataset names them, else by order",
        )

    def _signature(self) -> str:
        pairs = zip(self.input_names, self.shapes, strict=True)
        return ", ".join(f"{name} ({', '.join(map(_size, shape))})" for name, shape in pairs)

    # what the gate records of it

    def size(self) -> Size:
        """Bytes of the file and of the tensors in it."""
        return self.graph.size(self.file.total_bytes)

    def operators(self) -> tuple[OperatorCount, ...]:
        """The operators that onnxruntime runs, after its optimizations: ``onnx::QLinearConv``."""
        (onnx,) = need_onnx("onnx")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "optimized.onnx")
            options = session_options()
            options.optimized_model_filepath = str(path)
            self._other = self._start(self.content, options)
            optimized = onnx.load(str(path), load_external_data=False)
        counts = Counter(
            f"{node.domain.removeprefix('com.') or 'onnx'}::{node.op_type}"
            for node in optimized.graph.node
        )
        return tuple(OperatorCount(name, count) for name, count in sorted(counts.items()))

    def values(self, given: Inputs) -> dict[str, torch.Tensor]:
        """Every layer's output by its tensor's name; codes where it is quantized."""
        return self.tensors([one.output for one in self.graph.layers], given)

    def tensors(self, wanted: Sequence[str], given: Inputs) -> dict[str, torch.Tensor]:
        """These tensors of the graph, run on `given`; those that are stored, too."""
        session, names = self._observed(tuple(dict.fromkeys(wanted)))
        found = dict(zip(names, self._run(session, names, given), strict=True))
        stored = [n for n in wanted if n not in found and n in self.graph.stored]
        arrays = {name: self.graph.array(name) for name in stored}
        return found | {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}

    def _observed(self, wanted: tuple[str, ...]) -> tuple[Any, list[str]]:
        """A session whose graph has these tensors as outputs, too, and the names that it has."""
        if self._observing is None or self._observing[2] != wanted:
            (onnx,) = need_onnx("onnx")
            known = {one.name for one in self.graph.model.graph.output}
            names = [n for n in dict.fromkeys(wanted) if n in self.graph.producer or n in known]
            new = [name for name in names if name not in known]
            outputs = [onnx.ValueInfoProto(name=name) for name in new]
            more = onnx.ModelProto(graph=onnx.GraphProto(output=outputs))
            # of serialized messages one after the other, repeated fields are joined
            content = self.content + more.SerializeToString()
            session = self._start(content, session_options())
            self._observing = session, names, wanted
        session, names, _ = self._observing
        return session, names

    def describe(self, given: Inputs, twin: Mapping[str, torch.Tensor]) -> tuple[Layer, ...]:
        """Describe the layers, run on `given`.

        Args:
            twin: outputs of the float model, by the names of its modules or tensors.
        """
        values = self.values(given)
        fed = dict(zip(self.input_names, model_inputs.tensors(given), strict=False))
        return tuple(
            self._described(layer, values[layer.output], {**twin, **fed})
            for layer in self.graph.layers
            if layer.output in values and _is_number(layer, values[layer.output])
        )

    def _described(
        self, layer: OnnxLayer, value: torch.Tensor, twin: Mapping[str, torch.Tensor]
    ) -> Layer:
        floats = dequantized(value, layer.quantizer)
        return Layer(
            name=layer.name,
            kind=layer.kind,
            weight=layer.weight_quantizer,
            weight_digest=self.graph.digest(layer.weight),
            bias_digest=self.graph.digest(layer.bias),
            output=layer.quantizer,
            output_digest=digest(value),
            sqnr_db=_best(floats, layer, twin),
        )

    def float_values(self, given: Inputs) -> dict[str, torch.Tensor]:
        """Outputs of the layers by tensor and by layer, for comparison with another model's."""
        values = self.values(given)
        found: dict[str, torch.Tensor] = {}
        for layer in self.graph.layers:
            if layer.output in values:
                floats = dequantized(values[layer.output], layer.quantizer)
                for name in (*layer.known_as[-2:], layer.output, layer.name):
                    found.setdefault(name, floats)
        return found


_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(int8)": torch.int8,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}


def _as_type(value: Any, kind: torch.dtype | None) -> Any:
    if not isinstance(value, torch.Tensor):
        raise ModelFileError(f"an input is a {type(value).__name__}", hint="give tensors")
    converted = value.detach() if kind is None else value.detach().to(kind)
    return np.ascontiguousarray(converted.numpy())


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"


def _size(size: object) -> str:
    return str(size) if isinstance(size, int) else "N"


def _fixed_batch(shapes: Sequence[tuple[Any, ...]]) -> int:
    """The only batch size that a model takes; 0 for any."""
    sizes = {shape[0] for shape in shapes if shape}
    only = sizes.pop() if len(sizes) == 1 else 0
    return only if isinstance(only, int) and only > 0 else 0


def _in_batches(
    session: Any, wanted: Sequence[str] | None, feed: dict[str, Any], count: int, size: int
) -> list[Any]:
    """Run a model of a fixed batch size; what is missing in the last batch is repeated."""
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        parts.append(session.run(wanted, {name: each[rows] for name, each in feed.items()}))
    return [np.concatenate(each)[:count] for each in zip(*parts, strict=True)]


def dequantized(value: torch.Tensor, quantizer: Quantizer | None) -> torch.Tensor:
    """Floats of a per-tensor quantized activation; others as they are."""
    if quantizer is None or value.is_floating_point() or len(quantizer.scales) != 1:
        return value.float() if value.is_floating_point() else value
    codes = value.to(torch.float32) - quantizer.zero_points[0]
    return codes * torch.tensor(quantizer.scales[0], dtype=torch.float32)


def _is_number(layer: OnnxLayer, value: torch.Tensor) -> bool:
    return layer.quantizer is not None or value.is_floating_point()


def _best(floats: torch.Tensor, layer: OnnxLayer, twin: Mapping[str, torch.Tensor]) -> float | None:
    """SQNR to the same value in the float model, by the first name of it that has the shape."""
    for name in layer.known_as:
        for known in (name, f"model.{name}"):  # a user's module stands between stubs
            if known in twin and twin[known].shape == floats.shape:
                found = twin[known]
                # codes that start at zero have a ReLU in them, which is no node of its own
                if layer.quantizer and _starts_at_zero(layer.quantizer) and bool((found < 0).any()):
                    found = found.relu()
                return sqnr(floats, found)
    return None


def _starts_at_zero(quantizer: Quantizer) -> bool:
    lowest = {"uint8": 0, "int8": -128, "uint16": 0, "int16": -32768}
    return quantizer.zero_points[0] == lowest.get(quantizer.dtype)


def _shapes(feed: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {tuple(each.shape)}" for name, each in feed.items())


def runtime_reason(error: BaseException) -> str:
    """The reason in an error of onnxruntime, in one line."""
    text = " ".join(str(error).split())
    if found := _NO_OPERATOR.search(text):
        return f"the operator {found[1] or found[2]} is not in it"
    if found := _NO_KERNEL.search(text):
        return f"it has no kernel for {found[1]}"
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : ", "", text)
    text = re.sub(r"(/\S+/)?\S+\.(cc|h):\d+ \S+( \S+)*? (?=[A-Z])", "", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _load_hint(text: str) -> str:
    if _NO_OPERATOR.search(text):
        return "custom operators are not supported: export the model with standard ones"
    if "opset" in text.lower():
        return "export it with an older opset, or install a newer onnxruntime"
    return "export it again, or verify the file with: python -c 'import onnx; onnx.checker...'"


# files


# Bytes that a serialized model may have: the limit of protocol buffers.
_MOST = 1 << 31
_PIECE = 1 << 24  # of external data, which may be larger than the memory


def load_onnx(path: Path, *, name: str) -> OnnxModel:
    """Load an ONNX file; nothing in it is executed but its operators.

    Raises:
        ModelFileError: it is damaged, its external data are missing or outside of its folder, or
            onnxruntime cannot run it.
        UnavailableError: onnx or onnxruntime is not installed.
    """
    need_onnx()
    try:
        content = read_regular(path, most=_MOST)
    except OSError as error:
        raise ModelFileError(
            f"{name}: {error.strerror or error}", hint="larger weights are external data of it"
        ) from error
    model = _parsed(content, name)
    external = _external_files(model, path, name)
    folder = path.resolve().parent if external else None
    return OnnxModel(content, name=name, folder=folder, file=_facts(model, content, path, external))


def model_of(content: bytes, *, name: str) -> OnnxModel:
    """A model that was just made, not delivered as a file.

    Raises:
        ModelFileError: onnxruntime cannot run it.
    """
    facts = _facts(_parsed(content, name), content, Path(), {})
    return OnnxModel(content, name=name, file=facts)


def _parsed(content: bytes, name: str) -> Any:
    (onnx,) = need_onnx("onnx")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors differ between its implementations
        raise ModelFileError(
            f"{name} is no ONNX model, or cut off: {runtime_reason(error)}",
            hint="copy or export it again",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(
            f"{name} has no graph: it is cut off, or no ONNX model", hint="export it"
        )
    return model


def _with_data(content: bytes, folder: Path | None) -> Any:
    model = _parsed(content, "the model")
    if folder is not None:
        (helper,) = need_onnx("onnx.external_data_helper")
        helper.load_external_data_for_model(model, str(folder))
    return model


def _stored_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for one in node.attribute:
            if one.HasField("t"):
                yield one.t
            yield from one.tensors
            if one.HasField("g"):
                yield from _stored_tensors(one.g)


def _external_files(model: Any, path: Path, name: str) -> dict[Path, int]:
    """The files with external data, and how many bytes of each belong to the model.

    All must be in the model's own folder.
    """
    (onnx,) = need_onnx("onnx")
    found: dict[Path, int] = {}
    for tensor in _stored_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entry = {one.key: one.value for one in tensor.external_data}
        file = _inside(path, entry.get("location", ""), name, tensor.name)
        end = _number(entry.get("offset")) + (_number(entry.get("length")) or _bytes_of(tensor))
        if file.stat().st_size < end:
            raise ModelFileError(
                f"{name}: its external data {file.name} has {file.stat().st_size:,} bytes, and "
                f"{tensor.name} ends at {end:,}",
                hint="copy the file with its external data again",
            )
        found[file] = max(found.get(file, 0), end)
    return found


def _bytes_of(tensor: Any) -> int:
    """Bytes of a tensor that does not say how long its external data are."""
    try:
        bits = bits_of(dtype_name(tensor))
    except ValueError:  # no type that there is: onnxruntime says so
        return 0
    elements: int = math.prod(tensor.dims)
    return math.ceil(elements * bits / 8)


def _inside(path: Path, location: str, name: str, tensor: str) -> Path:
    folder = path.resolve().parent
    try:
        file = (folder / location).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, no name of a file
        raise ModelFileError(
            f"{name}: its external data {location!r} cannot be found: {error}",
            hint="save the model with its data in one folder",
        ) from error
    if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
        raise ModelFileError(
            f"{name}: the external data of {tensor} is outside of its folder: {location!r}",
            hint="nothing outside is read; save the model with its data in one folder",
        )
    if not file.is_file():
        raise ModelFileError(
            f"{name}: its external data {location} is missing",
            hint="copy it into the folder of the model",
        )
    return file


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _facts(model: Any, content: bytes, path: Path, external: Mapping[Path, int]) -> ModelFile:
    found = hashlib.sha256(content)
    size = len(content)
    for file, end in external.items():
        found.update(file.name.encode())
        with file.open("rb") as data:
            for start in range(0, end, _PIECE):
                found.update(data.read(min(_PIECE, end - start)))
        size += end
    opsets = sorted(f"{one.domain or 'ai.onnx'} {one.version}" for one in model.opset_import)
    return ModelFile(
        format=FileFormat.ONNX.value,
        sha256=found.hexdigest(),
        total_bytes=size,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        opsets=tuple(opsets),
        external=tuple(str(one.relative_to(path.resolve().parent)) for one in external),
    )
