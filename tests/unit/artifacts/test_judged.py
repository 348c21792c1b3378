"""A delivered file under the gate: a changed one is found, and what changed is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreg.baselines.encoding import encode
from qreg.baselines.store import Store
from qreg.checks.verdict import judge, no_baseline
from qreg.faults.families.files import FILES
from qreg.faults.fault import Fault, Target
from qreg.gate.explain import explain
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.models import MODELS
from qreg.quantization import method_info
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.verdict import Basis, Check, Outcome, Verdict
from tests.unit.artifacts import files
from tests.unit.artifacts.files import net

files.need_onnxruntime()

OPTIONS = Options(limit=40, threads=1)
APPROVED = Approval("test", "2026-01-01T00:00:00Z", "", "0")
EXACT, LOOSE = (Basis(exact=exact, reason="") for exact in (True, False))
#: For each fault the check that names it, and where.
NAMED = {
    "weight-scale+1%": (Check.PARAMETERS, "features.4: weight of channel 0"),
    "activation-scale+1%": (Check.PARAMETERS, "features.4: output"),
    "zero-point+1": (Check.PARAMETERS, "input: output"),
    "one-code": (Check.PARAMETERS, "features.4: weight values"),
    "dq-removed": (Check.PARAMETERS, "features.4: output"),
    "left-float": (Check.OPERATORS, "features.4"),
    "float-beside-codes": (Check.SIZE, "weight_before"),
    "opset": (Check.FILE, "operator sets"),
}
#: For each fault that changes a layer, that layer, and what restoring it shows.
_ALL = "restoring it removes 100 % of the difference"
RESTORED = {
    "weight-scale+1%": ("features.4", _ALL),
    "activation-scale+1%": ("features.4", _ALL),
    "zero-point+1": ("input", _ALL),
    "one-code": ("features.4", "its share is unknown: the first logits are equal"),
    "dq-removed": ("features.4", _ALL),
    "left-float": ("features.4", "its share is unknown: the first logits are equal"),
}


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.quantized(tmp_path_factory.mktemp("judged") / "net_int8.onnx")


@pytest.fixture(autouse=True)
def model() -> Iterator[None]:
    with MODELS.meaning({"given:net": net}):
        yield


def _case(path: Path, prefix: str = "file") -> Case:
    return Case("shapes10", "given:net", f"{prefix}:{path}", "onnxruntime")


def _seen(case: Case) -> Snapshot:
    found = Gate(OPTIONS).observe(case)
    assert isinstance(found, Snapshot), found
    return found


@pytest.fixture(scope="module")
def clean(int8: Path) -> Snapshot:
    with MODELS.meaning({"given:net": net}):
        return _seen(_case(int8))


def _judged(now: Snapshot, before: Snapshot, basis: Basis = EXACT) -> Verdict:
    method = method_info(now.case.method)
    return judge(now, Baseline(before, (APPROVED,)), basis, method, alpha=0.01)


def test_the_same_file_passes_and_is_stored_whole(clean: Snapshot, tmp_path: Path) -> None:
    assert _judged(_seen(clean.case), clean).outcome is Outcome.PASS
    assert clean.environment.onnxruntime
    assert clean.file is not None
    baseline = Baseline(clean, (APPROVED,))
    store = Store(tmp_path)
    store.write(baseline)
    assert store.read(clean.case) == (baseline,)
    assert store.cases() == (clean.case,)
    assert encode(baseline).entry["file"]["sha256"] == clean.file.sha256


@pytest.mark.parametrize("fault", FILES, ids=lambda fault: fault.size)
def test_a_fault_of_a_file_is_found_and_named(fault: Fault, clean: Snapshot) -> None:
    assert fault.applies(clean.case, frozenset())
    with fault.inject(Target(clean.case, OPTIONS)):
        gate = Gate(OPTIONS)
        now = gate.observe(clean.case)
        assert isinstance(now, Snapshot)
        verdict = explain(_judged(now, clean), now, clean, gate)
    check, where = NAMED[fault.size]
    assert verdict.outcome is Outcome.REGRESSED
    assert any(one.check is check and where in one.where for one in verdict.findings), [
        (one.check, one.where) for one in verdict.findings
    ]
    assert any("another file" in note for note in verdict.notes)
    layer, share = RESTORED.get(fault.size, ("", ""))
    assert verdict.layer == layer
    located = [note for note in verdict.notes if note.startswith("first diverging layer")]
    assert [share in note for note in located] == [True] * bool(layer), located


def test_another_file_of_the_same_content_is_a_note(clean: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "net_int8.onnx"
    path.write_bytes(Path(clean.case.method.removeprefix("file:")).read_bytes())

    def other_text(model: Any) -> None:
        model.producer_name = "Onnx.quantize"

    now = _seen(_case(files.changed(path, other_text)))
    verdict = _judged(replace(now, case=clean.case), clean)
    assert verdict.outcome is Outcome.PASS
    assert any(note.startswith("another file") for note in verdict.notes)


def test_a_file_in_which_nothing_is_quantized_has_regressed(tmp_path: Path) -> None:
    exported = files.export_onnx(tmp_path / "net.onnx")
    for prefix, expected in (("file", Outcome.REGRESSED), ("float-file", Outcome.NO_BASELINE)):
        now = _seen(_case(exported, prefix))
        assert no_baseline(now, method_info(now.case.method)).outcome is expected


def test_the_export_is_judged_like_another_environment(tmp_path: Path) -> None:
    """PyTorch's fp32 and onnxruntime's, on the same weights."""
    exported = _seen(_case(files.export_onnx(tmp_path / "net.onnx"), "float-file"))
    assert exported.numerics.disagreements == ()
    by_name = {layer.name: layer.sqnr_db for layer in exported.numerics.layers}
    assert all(db is not None and db > 100 for name, db in by_name.items() if "." in name)


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(("damage", "said"), [(_gone, "no file"), (_cut, "cut off")])
def test_a_damaged_file_is_a_failure_of_its_case(
    damage: Callable[[Path], None], said: str, int8: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(int8.read_bytes())
    damage(path)
    found = Gate(OPTIONS).observe(_case(path))
    assert isinstance(found, Failure)
    assert said in found.reason
    assert not found.unavailable
    assert "\n" not in found.reason


def test_other_versions_of_onnxruntime_are_judged_statistically(clean: Snapshot) -> None:
    from qreg.baselines.applicable import choose

    environment = replace(clean.environment, onnxruntime="1.20.1")
    other = Baseline(replace(clean, environment=environment), (APPROVED,))
    method = method_info(clean.case.method)
    chosen = choose((other,), clean.environment, method)
    assert chosen is not None
    assert not chosen[1].exact
    assert "recorded on onnxruntime 1.20.1, now onnxruntime" in chosen[1].reason
    assert _judged(clean, other.snapshot, chosen[1]).outcome is Outcome.PASS
