"""Locating an exception: the module of the model and the line of its author's code.

The innermost module is found in the traceback's own frames, so that nothing has to be attached
to a model before it runs, and the same holds while it is traced, calibrated or run.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import fx, nn
from torch.ao import quantization as ao

from qreg.diagnosis.records import Diagnosis, Raised, Tracer, advice
from qreg.diagnosis.rule import NO_WEIGHT, diagnose, that_work, untried, where
from qreg.metrics.graphs import layer_of
from qreg.models.copies import Following
from qreg.models.stubs import Stubbed
from qreg.quantization import alternatives
from qreg.records.case import Case, Failure

Frame = tuple[FrameType, int, int]  # a frame, the line and the instruction where it stood
# dynamo reports the author's line in the text, because no frame of the author's ran
_QUOTED = re.compile(r'from user code:.*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.DOTALL)
_WRAPPERS = (inspect.getfile(Stubbed), inspect.getfile(Following))
#: Packages of PyTorch's own requirements, in whose code its functions are wrapped.
_REQUIRED = ("numpy", "sympy", "networkx", "typing_extensions")
_LOWERED_BATCH_NORM = str(Path("ao", "nn", "quantized", "modules", "batchnorm.py"))
_EXPORTING = ("torch.export", "torch._export", "torch._dynamo", "torch._functorch")


def diagnosis_of(error: BaseException) -> Diagnosis:
    """Diagnose an exception with a traceback: where, why, and what to do."""
    return diagnose(raised_facts(error))


#: Tries methods in place of a blocked one; says of each whether it can quantize the model.
AlternativeTrial = Callable[[tuple[str, ...]], Mapping[str, bool]]


def raised_failure(
    case: Case, error: BaseException, trial: AlternativeTrial | None = None
) -> Failure:
    """The failure of a case whose code raised, diagnosed, with its traceback.

    Args:
        trial: so that only methods that work are advised; None: they are advised untried.
    """
    found = diagnosis_of(error)
    instead, known = alternatives(case.method, found.instead), False
    if trial is not None and instead:
        works = {case.method: False}
        while left := untried(instead, works):
            works |= dict.fromkeys(left, False) | dict(trial(left))
        instead, known = that_work(instead, works)
    details = "".join(traceback.format_exception(error))
    return Failure(
        case,
        found.reason,
        advice(found.remedy, instead, known=known),
        unavailable=False,
        details=details,
        where=found.where,
        operator=found.operator,
    )


def raised_facts(error: BaseException) -> Raised:
    """The facts of an exception: kinds, text, innermost module, innermost line of the author's."""
    frames = _frames(error)
    stood = _stood(frames)
    source, code, own = _authors_line(frames, stood)
    if not source:
        source, code = _quoted_line(str(error)) if not code else ("", code)
    return Raised(
        kind=tuple(kind.__name__ for kind in type(error).__mro__),
        message=_message(error, frames),
        layer=_graph_layer(frames) or stood.path,
        layer_kind="" if own else _kind(stood.module),
        source=source,
        code=code,
        read=_read(frames, code),
        tracer=_tracer(frames, error),
    )


def _kind(module: nn.Module | None) -> str:
    """The class of an author's or PyTorch's module; "" for what only carries a model."""
    unnamed = module is None or isinstance(module, (Stubbed, fx.GraphModule))
    return "" if unnamed else type(module).__name__


def _read(frames: list[Frame], code: str) -> str:
    """The weight or bias that the innermost code of the author's holds: a quantized layer's."""
    authors = [f for f, _, _ in frames if _is_authors(f.f_code.co_filename)]
    root = next((found for f, _, _ in frames if (found := _module_of(f)) is not None), None)
    if not authors or root is None:
        return ""
    names = {id(module): name for name, module in root.named_modules()}
    held = authors[-1].f_locals
    for variable in sorted(held, key=lambda one: not re.search(rf"\b{re.escape(one)}\b", code)):
        value = held[variable]
        owner, name = getattr(value, "__self__", None), getattr(value, "__name__", "")
        if isinstance(owner, nn.Module) and name in ("weight", "bias") and id(owner) in names:
            path = names[id(owner)].removeprefix("model.") if isinstance(root, Stubbed) else ""
            return f"the {name} of {path or names[id(owner)]}"
    return ""


_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, eq=False)
class _Stood:
    """The innermost module that ran, its path in the model, and where among the frames."""

    module: nn.Module | None
    path: str
    place: int


def _frames(error: BaseException) -> list[Frame]:
    """Outermost first; of the exception that caused this one where that came from a model."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    for one in reversed(chain):
        frames = list(_walk(one.__traceback__))
        if any(_module_of(frame) is not None for frame, _, _ in frames):
            return [*frames, *_inside_graph(frames)]
    return list(_walk(error.__traceback__))


def _walk(tb: TracebackType | None) -> Iterator[Frame]:
    while tb is not None:
        yield tb.tb_frame, tb.tb_lineno, tb.tb_lasti
        tb = tb.tb_next


def _inside_graph(frames: list[Frame]) -> list[Frame]:
    """What torch.fx cuts off a traceback that ends in a graph: the graph's own line, run again."""
    frame = frames[-1][0]
    graph = _self(frame)
    if frame.f_code.co_name not in ("call_wrapped", "__call__"):
        return []
    given = next((f for f, _, _ in reversed(frames) if f.f_code.co_name == "call_wrapped"), None)
    graph = None if given is None else _self(given)
    if given is None or not isinstance(graph, fx.GraphModule):
        return []
    try:
        with torch.no_grad():
            graph.forward(*given.f_locals.get("args", ()), **given.f_locals.get("kwargs", {}))
    except Exception as again:
        return list(_walk(again.__traceback__))[1:]
    return []


def _module_of(frame: FrameType) -> nn.Module | None:
    found = frame.f_locals.get("self")
    return found if isinstance(found, nn.Module) else None


def _stood(frames: list[Frame]) -> _Stood:
    ran = [(n, found) for n, (f, _, _) in enumerate(frames) if (found := _module_of(f)) is not None]
    own = [
        one
        for one in ran
        if not type(one[1]).__module__.startswith(_EXPORTING)
        and not isinstance(one[1], (ao.ObserverBase, ao.FakeQuantizeBase))
    ]
    # no module runs where layers are replaced one by one: they are what is passed on
    held = [(n, found) for n, (f, _, _) in enumerate(frames) if (found := _held(f)) is not None]
    own = own or [one for one in held if one[0] >= _first_of_torch(frames)]
    if not own:
        return _Stood(None, "", len(frames))
    around: list[nn.Module] = [m for _, m in (*own, *held) if isinstance(m, Stubbed)]
    around += [m for _, m in held if any(one is own[-1][1] for one in m.modules())]
    root = next(iter(around), own[0][1])
    paths: dict[int, str] = {}
    for name, module in root.named_modules():
        paths.setdefault(id(module), name)
    innermost = next((m for _, m in reversed(own) if id(m) in paths), root)
    path = paths[id(innermost)]
    if isinstance(root, Stubbed):  # the author's model stands between stubs
        path = path.removeprefix("model").lstrip(".")
    place = next((n for n, m in (*own, *held) if m is innermost), len(frames))
    return _Stood(innermost, path, place)


def _held(frame: FrameType) -> nn.Module | None:
    names = ("self", "mod", "module", "model")
    found = (frame.f_locals.get(name) for name in names)
    return next((one for one in found if isinstance(one, nn.Module)), None)


def _first_of_torch(frames: list[Frame]) -> int:
    """The first frame of PyTorch's or torchao's that replaces layers."""
    code = (frame.f_code.co_filename for frame, _, _ in frames)
    own = tuple(one for one in _carriers() if not _is_ours(one))
    places = (n for n, file in enumerate(code) if file.startswith(own) and "quantization" in file)
    return next(places, len(frames))


def _authors_line(frames: list[Frame], stood: _Stood) -> tuple[str, str, bool]:
    """The innermost line in a model that is neither PyTorch's nor qreg's: source, code.

    The third says whether it is the innermost module's own, and not a call of that module.
    """
    first = next((n for n, one in enumerate(frames) if _module_of(one[0]) is not None), None)
    if first is None:  # a factory's or a method's own code, called by qreg
        ours = [n for n, (frame, _, _) in enumerate(frames) if _is_ours(frame.f_code.co_filename)]
        first = ours[-1] + 1 if ours else len(frames)
    for place in reversed(range(first, len(frames))):
        frame, line, instruction = frames[place]
        if _is_authors(frame.f_code.co_filename):
            source = f"{_shown(frame.f_code.co_filename)}:{line}"
            return source, _expression(frame, line, instruction), place >= stood.place
    node, text = _graph_node(frames)
    found = _last_of(str(node.meta.get("stack_trace", ""))) if node is not None else None
    return (*found, True) if found else ("", text, bool(text))


def _graph_layer(frames: list[Frame]) -> str:
    node, _ = _graph_node(frames)
    return "" if node is None else layer_of(node).removeprefix("model.").removeprefix("model")


def _graph_node(frames: list[Frame]) -> tuple[fx.Node | None, str]:
    """The operator of a traced graph that ran or was inspected, and its line."""
    for frame, line, _ in reversed(frames):
        graph = _self(frame)
        if isinstance(graph, fx.GraphModule) and "eval_with_key" in frame.f_code.co_filename:
            text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
            text = text.partition(";")[0].strip()
            name = text.partition(" = ")[0].partition(":")[0]
            return next((n for n in graph.graph.nodes if n.name == name), None), text
        # where PyTorch lowers a layer, its other nodes are those around it
        given = [frame.f_locals["ref_node"]] if "ref_node" in frame.f_locals else []
        nodes = [x for x in given or frame.f_locals.values() if isinstance(x, fx.Node)]
        if nodes and (traced := [n for n in nodes if n.meta.get("nn_module_stack")]):
            return traced[-1], ""
    return None, ""


def _message(error: BaseException, frames: list[Frame]) -> str:
    """Its text; that of the kernel, where PyTorch fails for the same reason before it runs it."""
    inside = frames[-1][0].f_code.co_filename if frames else ""
    if isinstance(error, AttributeError) and inside.endswith(_LOWERED_BATCH_NORM):
        return NO_WEIGHT
    text = str(error).strip()
    if text.startswith("The following operation failed in the TorchScript interpreter"):
        return text.rpartition("RuntimeError:")[2].strip() or text
    return text or _assertion(error)


def _assertion(error: BaseException) -> str:
    """The asserted expression, for an assertion without a message."""
    if not isinstance(error, AssertionError):
        return ""
    last = list(_walk(error.__traceback__))[-1:]
    return " ".join(linecache.getline(f.f_code.co_filename, n).strip() for f, n, _ in last)


def _last_of(trace: str) -> tuple[str, str] | None:
    found = re.findall(r'File "([^"]+)", line (\d+)', trace)
    for file, line in reversed(found):
        if _is_authors(file):
            return f"{_shown(file)}:{line}", linecache.getline(file, int(line)).strip()
    return None


def _quoted_line(text: str) -> tuple[str, str]:
    quoted = _last_of(text[found.start() :]) if (found := _QUOTED.search(text)) else None
    return quoted or ("", "")


@cache
def _carriers() -> tuple[str, ...]:
    """Folders of code that only carries a model: PyTorch's, torchao's, qreg's own."""
    own = Path(__file__).resolve().parents[1]
    folders = [Path(torch.__file__).parent]
    for name in ("torchao", *_REQUIRED):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            file = Path(spec.origin)
            folders.append(file.parent if file.name == "__init__.py" else file)
    folders += [one for one in own.iterdir() if one.name not in ("models", "__pycache__")]
    return tuple(f"{path}{os.sep}" if path.is_dir() else str(path) for path in folders)


def _is_authors(file: str) -> bool:
    if file.startswith("<") or file in _WRAPPERS:
        return False
    path = str(Path(file).resolve())
    # what is installed lies inside the standard library's folder, and is some author's
    standard = path.startswith(f"{Path(os.__file__).parent}{os.sep}")
    return not (standard and "site-packages" not in path) and not path.startswith(_carriers())


def _is_ours(file: str) -> bool:
    return Path(file).resolve().is_relative_to(_PACKAGE)


def _shown(file: str) -> str:
    """Relative to the current folder, or from the installed package on."""
    path = Path(file).resolve()
    if path.is_relative_to(Path.cwd()):
        return os.fspath(path.relative_to(Path.cwd()))
    for place in sys.path:
        if place and path.is_relative_to(folder := Path(place).resolve()):
            return os.fspath(path.relative_to(folder))
    return path.name


def _expression(frame: FrameType, line: int, instruction: int) -> str:
    """What was evaluated, as narrow as the interpreter knows it; else its whole line."""
    text = linecache.getline(frame.f_code.co_filename, line).strip()
    positions = getattr(frame.f_code, "co_positions", None)
    if text.startswith("assert "):
        return text
    if positions is None or instruction < 0:  # Python 3.10 knows lines only
        return text
    start, end, left, right = list(positions())[instruction // 2]
    if start is None or start != end or left is None or right is None:
        return text
    whole = linecache.getline(frame.f_code.co_filename, start).encode()
    return _parsed(whole[left:right].decode(errors="replace")) or text


def _parsed(text: str) -> str:
    try:
        ast.parse(text.strip(), mode="exec")
    except SyntaxError:
        return ""
    return text.strip()


def _tracer(frames: list[Frame], error: BaseException) -> Tracer | None:
    modules = {str(frame.f_globals.get("__name__", "")) for frame, _, _ in frames}
    modules |= {kind.__module__ for kind in type(error).__mro__}
    if any(name.startswith((*_EXPORTING, "torch.fx.experimental")) for name in modules):
        return Tracer.EXPORT
    traced = any(isinstance(_self(frame), fx.Tracer) for frame, _, _ in frames)
    return Tracer.FX if traced else None


def _self(frame: FrameType) -> Any:
    return frame.f_locals.get("self")


def layer_running() -> str:
    """Path and line of the layer that is running, asked from inside an operator of it."""
    frames: list[Frame] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.append((frame, frame.f_lineno, frame.f_lasti))
        frame = frame.f_back
    frames.reverse()
    stood = _stood(frames)
    source, _, _ = _authors_line(frames, stood)
    return where(_graph_layer(frames) or stood.path, source)
