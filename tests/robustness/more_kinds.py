"""Further kinds of files: what commands keep for later runs, what processes hand to each other, the
members of archives that hold models, and the table that `qreg init` writes.
"""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qreg.errors import QregError
from tests.robustness.changes import ByteChange, TreeChange, anywhere, byte_changes, tree_changes
from tests.robustness.kinds import (
    Files,
    Kind,
    _bytes,
    _entries,
    _file,
    _model_file,
    _net,
    _read_model_file,
    _table_text,
    _trees,
    taken,
)
from tests.unit.baselines import build

# --- kept for later runs -----------------------------------------------------------------------


def _lines(append: Callable[[Path], None], name: str) -> Callable[[], Files]:
    def make() -> Files:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            append(Path(folder, name))
            return {name: Path(folder, name).read_bytes()}

    return make


@dataclass(frozen=True)
class LineChange:
    """Changes of the JSON of a line, counted in their order."""

    at: int
    changes: tuple[TreeChange, ...]

    def of(self, content: bytes) -> bytes:
        from tests.robustness.changes import json_text

        lines = content.splitlines() or [b""]
        number = self.at % len(lines)
        try:
            tree = json.loads(lines[number])
        except (ValueError, RecursionError):  # after an earlier change, no JSON or too deep
            return content
        for one in self.changes:
            tree = one.of(tree)
        lines[number] = json_text(tree).replace(b"\n", b" ")
        return b"\n".join(lines) + b"\n"


_line_changes = st.lists(
    st.one_of(
        byte_changes,
        st.builds(
            LineChange,
            at=anywhere,
            changes=st.lists(tree_changes, min_size=1, max_size=2).map(tuple),
        ),
    ),
    min_size=1,
    max_size=2,
)


def _gate_entries() -> Any:
    from qreg.history.records import GateEntry
    from qreg.records.verdict import Outcome

    return [
        GateEntry(
            time=f"2026-11-{day + 1:02d}T00:00:00+00:00",
            case=build.CASE,
            commit=build.hexadecimal(day, digits=40),
            environment=build.ENVIRONMENT,
            outcome=Outcome.REGRESSED if day > 6 else Outcome.PASS,
            measure="accuracy",
            unit="%",
            value=90.0 - (day > 6),
            file_bytes=1000 + day,
            flips=day,
            layer="conv1",
            speed_up=1.5,
        )
        for day in range(9)
    ]


def _append_gate(path: Path) -> None:
    from qreg.history.store import append

    append(path, _gate_entries())


def _read_gate_history(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from qreg.history.store import read as read_store

        entries, damaged = read_store(folder / name)
        _command(folder, "history", "show", "--store", name)
        _command(folder, "history", "html", "page.html", "--store", name)
        return _said(entries, damaged)

    return read


def _said(entries: Any, damaged: Any) -> Any:
    if damaged or not entries:
        raise QregError(f"{len(damaged)} lines are damaged, and said")
    return entries


def _command(folder: Path, *words: str) -> None:
    """Run a command there; it must end with a status of its own."""
    from qreg.cli import main

    os.chdir(folder)
    (folder / "pyproject.toml").write_text('[tool.qreg]\nmodels = ["simple_cnn"]\n')
    status = main(list(words))
    if status not in (0, 1, 2):
        raise AssertionError(f"{words}: status {status}")


def _append_confirmations(path: Path) -> None:
    from qreg.records.verdict import Outcome
    from qreg.speed.history.confirmations import Confirmation, keep

    for day, outcome in enumerate((Outcome.INCONCLUSIVE, Outcome.REGRESSED)):
        commits = (build.hexadecimal(number, digits=40) for number in (3, 4))
        keep(path, Confirmation(f"2026-11-{day + 1:02d}", build.CASE, *commits, outcome))


def _read_confirmations(folder: Path) -> Any:
    """What is known of a change, and all that is readable, as `qreg speed history --confirm`."""
    from qreg.speed.history.change_points import ChangePoint
    from qreg.speed.history.confirmations import _read, find

    before, after = _entries()[3:5]
    path = folder / "h.jsonl.confirmed.jsonl"
    change = ChangePoint(before, after, by=0.01)
    return find(path, change), _read(path)


def _append_trials(path: Path) -> None:
    from qreg.speed.calibration.trials import Trial, append_trials

    rng = np.random.default_rng(0)
    trials = [
        Trial(
            scenario=scenario,
            case=build.CASE,
            load=0,
            seed=seed,
            threads=1,
            batch=1,
            steal=0.0,
            others=None,
            ratios=tuple(rng.normal(size=8).round(4)),
            baseline_calls=tuple(rng.random(20).round(4)),
            candidate_calls=tuple(rng.random(20).round(4)),
        )
        for seed in range(2)
        for scenario in ("A/A", "slower by 3 %")
    ]
    append_trials(path, trials)


def _read_trials(folder: Path) -> Any:
    from qreg.speed.calibration.trials import clean_ratios, read_trials

    path = folder / "trials.jsonl"
    try:
        trials, damaged = read_trials(path)
    except OSError as error:  # said by the command as it is
        raise QregError(str(error)) from error
    _command(folder, "speed", "calibrate", "--trials", "0", "--store", "trials.jsonl")
    clean_ratios(path)
    return _said(trials, damaged)


# --- the project's table -----------------------------------------------------------------------

_BUDGET = {
    "models": ["simple_cnn"],
    "budget": {
        "max-drop": 0.5,
        "against": "control",
        "max-flips": "2 %",
        "static*": {"max-size": "30 %", "max-flips": 20},
        "*/*/qat@*": {"max-size": 0.7, "min-speed-up": 1.5},
    },
    "known-failures": {"static@*": {"reason": "issue 12", "expires": "2027-01-31"}},
}


@dataclass(frozen=True)
class BudgetChange:
    """Changes of the tree of budget and known failures, written as TOML."""

    changes: tuple[TreeChange, ...]

    def at(self, path: Path) -> None:
        tree = json.loads(json.dumps(_BUDGET))
        for one in self.changes:
            tree = one.of(tree)
        path.write_bytes(_table_text(tree if isinstance(tree, dict) else {"models": tree}))


def _read_budget(folder: Path) -> Any:
    """As the gate reads and applies them."""
    from qreg.budget.table import check_patterns
    from qreg.selection import select_cases
    from qreg.settings import find_settings

    settings = find_settings(folder)
    if settings is None:
        raise QregError("no table")
    cases = select_cases(settings)
    limits = [settings.budget.of(case, float_only=case.method == "fp32") for case in cases]
    known = settings.known_failures
    check_patterns([one.pattern for one in known], cases, "known-failures")
    return limits, known, [one.expired("2026-12-01") for one in known]


_OTHER_TABLE = b"""\
[project]
name = "mine"  # [tool.qreg]

[tool.qreg]
models = ["old:net"]

[tool.qreg.budget]
max-drop = 0.5

[[tool.other]]
a = 1
"""


def _read_and_init(folder: Path) -> Any:
    """As `qreg init --force` writes: the rest of the file is what it was."""
    from qreg.check.table import table_text, with_table
    from qreg.settings import read_settings, read_toml

    path = folder / "pyproject.toml"
    before = read_toml(path)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    table = table_text("nets:net", "data.npz", ["fp32"], task="regression")
    path.unlink(missing_ok=True)
    path.write_text(with_table(text, table, force=True, path=path), encoding="utf-8")
    after = read_toml(path)
    settings = read_settings(path)
    assert settings is not None
    for found in (before, after):
        found.get("tool", {}).pop("qreg", None)
    assert {**before, "tool": before.get("tool") or {}} == {**after, "tool": after.get("tool")}
    return before, settings.models, settings.datasets


# --- what processes hand to each other ---------------------------------------------------------

_STAND_IN = """\
#!{python} -SE
import json, os, sys
job = json.load(open(sys.argv[-2]))
os.write(job["turns"], b"r") if job["turns"] else None
for _ in range(job["rounds"] if job["turns"] else 0):
    os.read(0, 1)
    os.write(job["turns"], b"r")
name = "probe.json" if job["rounds"] == 1 else "result.json"
open(sys.argv[-1], "wb").write(open(os.path.join({folder!r}, name), "rb").read())
"""


def _child_results() -> Files:
    environment = asdict(build.ENVIRONMENT)
    times = {"p5": 0.001, "p50": 0.0011, "p95": 0.0012, "calls": 100}
    found = {"environment": environment, "qreg": "x", "seconds": [times], "kept": [[]]}
    content = json.dumps(found).encode()
    return {"result.json": content, "probe.json": content}


def _read_speed_check(folder: Path) -> Any:
    """Of an interpreter that the user names: `qreg speed check . PYTHON`, and all its reports."""
    from qreg.speed.check import check_speed
    from qreg.speed.compare.rule import make_plan
    from qreg.speed.driver import SpeedRequest

    python = folder / "python"
    python.write_text(_STAND_IN.format(python=sys.executable, folder=str(folder)))
    python.chmod(0o700)
    os.environ["TMPDIR"] = str(folder)
    plan = make_plan(pairs=8, cases=1, threads=1)
    request = SpeedRequest((build.CASE,), plan, seed=1, timeout=20)
    run = check_speed(request, str(python), str(python), folder)
    if run.lost:
        raise QregError(run.lost[-1])
    return [one.times for one in run.pairs], run.verdicts, run.baseline.environment


def _detail() -> Files:
    from qreg.records.decode import plain
    from qreg.records.detail import CaseDetail

    found = CaseDetail(build.CASE, notes=("a",), where=build.ENVIRONMENT, value=90.0, unit="%")
    return {"detail.json": json.dumps(plain(found)).encode()}


def _read_detail(folder: Path) -> Any:
    """As the page of the gate is made of it."""
    from qreg.gate.pool import _read_detail
    from qreg.processes.local import _read

    found = _read_detail(build.CASE, _read(folder / "detail.json"))
    if found.notes[:1] != ("a",):
        raise QregError(" ".join(found.notes) or "no notes")
    return found


def _quantized() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


def _halves() -> Files:
    """What one PyTorch hands to the other: a state, and three kinds of artifacts."""
    from tempfile import TemporaryDirectory

    import torch

    from qreg.upgrade.side.artifacts import write_artifacts
    from qreg.upgrade.side.state import save_state

    with TemporaryDirectory() as folder:
        model = _quantized()
        save_state(Path(folder, "000.state.safetensors"), model.state_dict())
        write_artifacts(model, torch.zeros(2, 3, 4, 4), f"{folder}/000")
        float_model = _net().eval()
        write_artifacts(float_model, torch.zeros(2, 3, 4, 4), f"{folder}/001")
        return taken(Path(folder))


def _read_half(kind: str) -> Callable[[Path], Any]:
    """As the other side loads and runs it: in a fork, whose end is its answer."""

    def read(folder: Path) -> Any:
        from qreg.processes.forked import run_pieces

        answer = folder / "answer.json"
        run_pieces([(answer, lambda: {"found": _run_half(folder, kind)})], seconds=20)
        found = json.loads(answer.read_text())
        if how := found.get("died") or found.get("raised"):
            raise QregError(how[:500])
        return found

    return read


def _run_half(folder: Path, kind: str) -> Any:
    import torch

    from qreg.upgrade.side.artifacts import load_artifact
    from qreg.upgrade.side.state import load_state

    images = torch.ones(2, 3, 4, 4)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind:
            stem = "001" if kind == "exported program" else "000"
            skeleton = _net().eval() if stem == "001" else _quantized()
            return load_artifact(kind, f"{folder}/{stem}", skeleton)(images).tolist()
        model = _quantized()
        state = load_state(folder / "000.state.safetensors", model.state_dict())
        model.load_state_dict(state)
        return model(images).tolist()


# --- archives of models ------------------------------------------------------------------------


@dataclass(frozen=True)
class MemberChange:
    """In a member of the archive, counted in their order: bytes, JSON, its name, or all of it.

    The archive is packed again, so that its checksums fit.
    """

    at: int
    how: str
    bytes: ByteChange
    tree: TreeChange

    def of(self, content: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {one.filename: archive.read(one) for one in archive.infolist()}
        names = sorted(members)
        name = names[self.at % len(names)]
        if self.how == "gone":
            del members[name]
        elif self.how == "away":
            members[f"../../{name}"] = members.pop(name)
        elif self.how == "pickle":
            members[name] = b"cos\nsystem\n(S'touch owned'\ntR."
        elif self.how == "JSON":
            members[name] = self._json(members[name])
        else:
            members[name] = self.bytes.of(members[name])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for key, value in members.items():
                archive.writestr(key, value)
        return buffer.getvalue()

    def _json(self, content: bytes) -> bytes:
        from tests.robustness.changes import json_text

        try:
            tree = json.loads(content)
        except (ValueError, RecursionError):
            tree = None
        if isinstance(tree, dict | list):
            return json_text(self.tree.of(tree))
        return self.bytes.of(content)


_members = st.builds(
    MemberChange,
    at=anywhere,
    how=st.sampled_from(("bytes", "bytes", "JSON", "JSON", "JSON", "gone", "away", "pickle")),
    bytes=byte_changes,
    tree=tree_changes,
).map(lambda one: [one])


def _read_members(ending: str) -> Callable[[Path], Any]:
    """A member that is code may be another model; it may not run anything but operators."""
    inner = _read_model_file(ending)

    def read(folder: Path) -> Any:
        try:
            return inner(folder)
        finally:
            owned = [one for one in (folder / "owned", Path("owned")) if one.exists()]
            if owned:
                raise AssertionError("it was unpickled")

    return read


def more_kinds() -> tuple[Kind, ...]:
    """All of them."""
    table = {"pyproject.toml": _table_text(_BUDGET)}
    kept = "h.jsonl.confirmed.jsonl"
    halves = (
        ("", "000.state.safetensors"),
        ("state dict", "000.state.pt"),
        ("TorchScript", "000.script.pt"),
        ("exported program", "001.program.pt2"),
    )
    return (
        _file(
            "history: gate, lines", _lines(_append_gate, "g.jsonl"), "g.jsonl", _line_changes,
            _read_gate_history("g.jsonl"),
        ),
        _file(
            "history: gate, SQLite", _lines(_append_gate, "g.db"), "g.db", _bytes,
            _read_gate_history("g.db"),
        ),
        _file(
            "confirmed changes", _lines(_append_confirmations, kept), kept, _line_changes,
            _read_confirmations,
        ),
        _file(
            "calibration trials", _lines(_append_trials, "trials.jsonl"), "trials.jsonl",
            _line_changes, _read_trials,
        ),
        Kind(
            "pyproject: budget, known failures", lambda: table, "pyproject.toml",
            st.lists(tree_changes, min_size=1, max_size=3).map(tuple).map(BudgetChange),
            _read_budget,
        ),
        _file(
            "pyproject: before qreg init", lambda: {"pyproject.toml": _OTHER_TABLE},
            "pyproject.toml", _bytes, _read_and_init,
        ),
        Kind("JSON of a speed child", _child_results, "result.json", _trees, _read_speed_check),
        Kind("JSON of a probe", _child_results, "probe.json", _trees, _read_speed_check),
        _file("JSON of a detail", _detail, "detail.json", _trees, _read_detail),
        *(
            _file(f"between halves: {name}", _halves, name, _bytes, _read_half(kind))
            for kind, name in halves
        ),
        *(
            _file(
                f"model: members of a .{one}", _model_file(one), f"m.{one}", _members,
                _read_members(one),
            )
            for one in ("pt", "pt2")
        ),
    )  # fmt: skip
