"""Reading the files written by the two sides, without PyTorch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from qreg.baselines.store import Store
from qreg.errors import QregError
from qreg.files import open_regular, read_regular
from qreg.records.case import Case
from qreg.records.decode import MismatchError
from qreg.upgrade.case_files import KINDS, CaseFiles
from qreg.upgrade.compare.arrays import Array, Arrays
from qreg.upgrade.compare.pair import CrossRun, SideResult
from qreg.upgrade.records import Answer, AnswerKind, ObserverRecord

LOGITS = "logits"
P = ParamSpec("P")
T = TypeVar("T")
_DAMAGE = (
    SafetensorError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    MismatchError,
)
# Bytes of a JSON file of a side.
_MOST = 1 << 26
# Of arrays, which are mapped.
_MOST_ARRAYS = 1 << 33
# A dataset may need one, too, which is read before there is a case to fail.
_NO_MODULE = re.compile(r"No module named '(torchvision|torchao|timm|onnx|onnxruntime)\b")
_PACKED = "._packed_params._packed_params"


def _damage_is_named(read: Callable[P, T]) -> Callable[P, T]:
    """What a side's process wrote is its own: whatever is wrong with it is one error."""

    @wraps(read)
    def reading(*given: P.args, **named: P.kwargs) -> T:
        try:
            return read(*given, **named)
        except _DAMAGE as error:
            text = str(error).partition("\n")[0] or type(error).__name__
            raise QregError(
                f"a side's process left files that cannot be read: {text[:200]}",
                hint="its disk may be full, or the model's code may write to its temporary folder",
            ) from error

    return reading


@_damage_is_named
def read_side_result(case: Case, files: CaseFiles) -> SideResult:
    """A case as quantized and run by a side."""
    found = _json(files.file("make.json"))
    if failure := _failure(found):
        said = found.get("failure", {})
        missing = _NO_MODULE.search(failure)
        lacks = said.get("lacks") or (missing[1] if missing else "")
        return SideResult(failure, unavailable=said.get("unavailable", False), lacks=lacks)
    (baseline,) = Store(files.folder / "store").read(case)
    if found.get("file"):
        return SideResult(snapshot=baseline.snapshot, of_file=True)
    return SideResult(
        snapshot=baseline.snapshot,
        observers=tuple(_observer(row) for row in found["seen"]),
        state=dict(read_state(files.file("state.safetensors"))),
        layers=read_outputs(files.file("own.safetensors"))[0],
        written=tuple(found["written"].items()),
    )


@_damage_is_named
def read_cross_run(files: CaseFiles) -> CrossRun:
    """Both sides' states as run by one side; failures where its process died."""
    found = _json(files.file("cross.json"))
    names = ("control", "carried", *KINDS)
    if failure := _failure(found):
        return CrossRun(dict.fromkeys(names, failure), {}, {}, {})
    if found.get("file"):
        return CrossRun({}, {}, {}, {})
    ran = [name for name in names if not found[name]]
    carried = {n: read_outputs(files.file(f"{n}.safetensors")) for n in ran if n not in KINDS}
    loaded = {
        kind: read_outputs(files.file(f"loaded.{KINDS[kind]}.safetensors"))[1]
        for kind in ran
        if kind in KINDS
    }
    return CrossRun(
        failed=found,
        layers={name: outputs[0] for name, outputs in carried.items()},
        logits={name: outputs[1] for name, outputs in carried.items()},
        loaded=loaded,
    )


@_damage_is_named
def read_inspection(
    number: int, letter: str, folders: Sequence[Path]
) -> tuple[Arrays, Arrays] | None:
    """Layer outputs of a state, run by the side that quantized it and by the other."""
    by = "AB".index(letter)
    files = [CaseFiles(folders[n], number).file(f"look.{letter}.safetensors") for n in (by, 1 - by)]
    if not all(file.exists() for file in files):
        return None
    return read_outputs(files[0])[0], read_outputs(files[1])[0]


@_damage_is_named
def read_answers(folder: Path, kind: AnswerKind) -> tuple[Answer, ...]:
    """The answers to all probes of a kind."""
    names = _json(folder / "names.json")
    return tuple(
        _answer(folder / f"{key}.json", about)
        for key, about in names.items()
        if key.startswith(f"{kind.value}.")
    )


def read_state(path: Path) -> Iterator[tuple[tuple[str, str], Array]]:
    """A transferred state: for each tensor, scales and zero points first, then codes or values."""
    open_regular(path, most=_MOST_ARRAYS).close()
    with safe_open(path, framework="np") as file:
        described = json.loads(file.metadata()["state"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, value in described.items():
        layer, _, leaf = name.removesuffix(_PACKED).rpartition(".")
        if name.endswith(_PACKED):
            layer, leaf = name.removesuffix(_PACKED), ""
        yield from _parts(name, value, layer, leaf, arrays)


def _parts(
    name: str, value: Any, layer: str, leaf: str, arrays: Mapping[str, Array]
) -> Iterator[tuple[tuple[str, str], Array]]:
    if "inside" in value:  # of a tensor subclass
        for part, inner in value["inside"].items():
            yield from _parts(f"{name}.{part}", inner, layer, f"{leaf} {part}", arrays)
    elif "parts" in value:
        for n, (part, what) in enumerate(zip(value["parts"], ("weight", "bias"), strict=False)):
            yield from _parts(f"{name}.{n}", part, layer, what, arrays)
    elif value.get("tensor"):
        parameters = value["tensor"]
        for what in ("scale", "zero_point"):
            found = arrays.get(f"{name}:{what}s", np.array(parameters.get(what, 0)))
            yield (layer, f"{leaf} {what.replace('_', ' ')}"), found
        yield (layer, f"{leaf} codes"), arrays[name]
    elif "tensor" in value:
        yield (layer, leaf.replace("_", " ")), arrays[name]
    else:
        text = json.dumps(value).encode()
        yield (layer, leaf), np.frombuffer(text, dtype=np.uint8)


def read_outputs(path: Path) -> tuple[Arrays, Array]:
    """Outputs by layer in execution order, and logits."""
    open_regular(path, most=_MOST_ARRAYS).close()
    with safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    logits = arrays.pop(LOGITS, np.empty((0, 0), dtype=np.float32))
    return {(name.partition(" ")[2], "output"): x for name, x in arrays.items()}, logits


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_regular(path, most=_MOST))
    return found


def _failure(result: Mapping[str, Any]) -> str:
    if "failure" in result:
        return str(result["failure"]["reason"])
    return str(result.get("died") or result.get("raised") or "")


def _observer(row: dict[str, Any]) -> ObserverRecord:
    scales, zeros = tuple(row["scales"]), tuple(row["zero_points"])
    return ObserverRecord(**{**row, "scales": scales, "zero_points": zeros})


def _answer(path: Path, about: Mapping[str, Any]) -> Answer:
    found = _json(path)
    outcome = found.get("died") or found.get("raised") or found["outcome"]
    return Answer(
        name=about["name"],
        outcome=outcome,
        signature=found.get("signature", ""),
        warnings=tuple(found.get("warnings", ())),
        used_by=tuple(about["used_by"]),
    )
