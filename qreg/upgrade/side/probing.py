"""Running the probes in this interpreter, each in a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from qreg.measure.recorded_warnings import plain_text, recorded_warnings
from qreg.processes.forked import run_pieces
from qreg.upgrade.records import WORKS, AnswerKind
from qreg.upgrade.side.edge_inputs import LETHAL, probes, show
from qreg.upgrade.side.probes import Probe, all_probes
from qreg.upgrade.side.properties import PROPERTIES, check

# torch first: imports after the first missing module are skipped
_HEAVY = ("torch.export", "torch.ao.quantization.quantize_fx", "torchao.quantization.pt2e")
_LIMIT = 200  # characters of an exception's text


def ask_all(folder: Path, *, seconds: int, interface: bool = True) -> None:
    """Write the answers: ``probe.N.json``, ``odd.N.json``, ``property.N.json``.

    ``names.json`` maps them to names, even where the probing process dies.

    Args:
        interface: ask; else there are no answers.
    """
    if not interface:
        (folder / "names.json").write_text("{}", encoding="utf-8")
        return
    odd = {**probes(), **LETHAL}
    asked = [
        (AnswerKind.PROBE, f"import {', '.join(_HEAVY)}", (), partial(_imported, _import())),
        *((AnswerKind.PROBE, one.name, one.used_by, partial(_ask, one)) for one in all_probes()),
        *((AnswerKind.ODD, name, (), partial(_answer, text)) for name, text in odd.items()),
        *((AnswerKind.PROPERTY, name, (), partial(_property, name)) for name in PROPERTIES),
    ]
    keys = [f"{kind.value}.{number:03d}" for number, (kind, *_) in enumerate(asked)]
    names = {k: {"name": a[1], "used_by": a[2]} for k, a in zip(keys, asked, strict=True)}
    (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")
    pieces = [(folder / f"{k}.json", a[3]) for k, a in zip(keys, asked, strict=True)]
    alone = sum(kind is AnswerKind.PROBE for kind, *_ in asked)
    for piece in pieces[:alone]:
        run_pieces([piece], seconds=seconds)  # PyTorch emits some warnings once per process
    run_pieces(pieces[alone:], seconds=seconds)


def _import() -> list[str]:
    """Import slow modules once, not in every fork; returns the warnings."""
    with recorded_warnings() as texts, contextlib.suppress(ImportError):
        for name in _HEAVY:
            importlib.import_module(name)
    return sorted({plain_text(text) for text in texts})


def _imported(texts: list[str]) -> dict[str, Any]:
    return {"outcome": WORKS, "warnings": texts}


def _ask(probe: Probe) -> dict[str, Any]:
    with recorded_warnings() as texts:
        outcome = _outcome(probe.call)
    return {
        "outcome": outcome,
        "signature": "" if outcome.startswith("raises") else signature(probe.name),
        "warnings": sorted({plain_text(text) for text in texts}),
    }


def _outcome(call: str) -> str:
    try:
        eval(call, {name: _Package(name) for name in ("torch", "torchao")})
    except Exception as error:
        text = plain_text(f"{type(error).__name__}: {error}")
        return f"raises {text[:_LIMIT]}"
    return WORKS


class _Package:
    """A package that imports its submodules on attribute access."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, leaf: str) -> Any:
        module, inner = importlib.import_module(self._name), f"{self._name}.{leaf}"
        if not hasattr(module, leaf):
            importlib.import_module(inner)
        found = getattr(module, leaf)
        # torch.ops is a module but cannot be imported
        return _Package(inner) if inspect.ismodule(found) and inner in sys.modules else found


def signature(path: str) -> str:
    """Names, kinds and defaults of a function's parameters, or an operator's schemas.

    Annotations are omitted: a different spelling such as `Optional[int]` is no change.
    """
    if path.startswith("torch.ops."):
        packet = _resolve(path)
        return "; ".join(str(getattr(packet, name)._schema) for name in sorted(packet.overloads()))
    try:
        found = inspect.signature(_resolve(path))
    except (TypeError, ValueError):
        schemas = torch._C._jit_get_schemas_for_operator(f"aten::{path.rpartition('.')[2]}")
        return "; ".join(sorted(map(str, schemas)))
    bare = [one.replace(annotation=one.empty) for one in found.parameters.values()]
    text = str(found.replace(parameters=bare, return_annotation=found.empty))
    return plain_text(text)


def _resolve(path: str) -> Any:
    """The object at a dotted path, importing modules as needed."""
    first, *rest = path.split(".")
    found, name = importlib.import_module(first), first
    for leaf in rest:
        name = f"{name}.{leaf}"
        if not hasattr(found, leaf):
            importlib.import_module(name)
        found = getattr(found, leaf)
    return found


def _answer(expression: str) -> dict[str, Any]:
    names = {"torch": torch, "inf": float("inf"), "nan": float("nan")}
    torch.backends.quantized.engine = "fbgemm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outcome = show(eval(expression, names))
        except Exception as error:
            outcome = f"raises {type(error).__name__}"
    return {"outcome": outcome}


def _property(name: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"outcome": check(name)}
