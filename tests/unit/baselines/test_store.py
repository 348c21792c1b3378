from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.baselines.folder import baseline_root
from qreg.baselines.store import Store
from qreg.errors import CorruptFileError, QregError
from qreg.files import shipped_folder
from qreg.records.case import Case
from tests.unit.baselines import build

ELSEWHERE = replace(build.ENVIRONMENT, cpu_capability="AVX2", vnni=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "baselines")


def test_what_was_written_is_read(store: Store) -> None:
    assert store.read(build.CASE) == ()
    store.write(build.baseline())
    assert store.read(build.CASE) == (build.baseline(),)
    assert Store(store.root).read(build.CASE) == (build.baseline(),)
    assert store.cases() == (build.CASE,)
    assert store.path(build.CASE) == store.root / "shapes10" / "simple_cnn" / "static@x86.json"


def test_the_same_environment_is_replaced_and_another_kept(store: Store) -> None:
    store.write(build.baseline())
    other = build.baseline(build.snapshot(environment=ELSEWHERE, seed=1))
    store.write(other)
    again = replace(build.ENVIRONMENT, torch="2.14.1+cu130", numpy="2.5.0")
    newer = build.baseline(build.snapshot(environment=again, seed=2), build.approval("newer"))
    store.write(newer)
    assert set(store.read(build.CASE)) == {other, newer}


def test_writing_twice_changes_no_byte(store: Store) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}

    store.write(build.baseline())
    before = content()
    store.write(build.baseline())
    assert content() == before


def test_a_users_names_become_file_names(store: Store) -> None:
    case = Case("my images", "mypackage.nets:make_net", "tools:half", "x86")
    store.write(build.baseline(build.snapshot(case=case)))
    assert store.path(case).name == "tools.half@x86.json"
    assert store.path(case).parent.name == "mypackage.nets.make_net"
    assert store.cases() == (case,)
    assert store.read(case)


def test_two_cases_with_one_file_name_do_not_meet(store: Store) -> None:
    store.write(build.baseline(build.snapshot(case=Case("shapes10", "a:b", "static", "x86"))))
    other = Case("shapes10", "a.b", "static", "x86")
    with pytest.raises(CorruptFileError, match=r"case: expected .*a:b"):
        store.read(other)
    with pytest.raises(CorruptFileError):
        store.write(build.baseline(build.snapshot(case=other)))


@pytest.mark.parametrize(
    "case",
    [
        Case("../up", "m", "static", "x86"),
        Case("..", "m", "static", "x86"),
        Case("shapes10", "a/b", "static", "x86"),
        Case("shapes10", "a\\b", "static", "x86"),
        Case("shapes10", "", "static", "x86"),
        Case("shapes10", "m", ".hidden", "x86"),
        Case("shapes10", "m", "static@x86", "x86"),
        Case("shapes10", "m", "static\0", "x86"),
        Case("checkpoints", "m", "static", "x86"),
        Case("shapes10", "sidecars", "static", "x86"),
    ],
    ids=str,
)
def test_no_name_leads_out_of_the_folder(store: Store, case: Case) -> None:
    with pytest.raises(QregError, match="cannot be part"):
        store.write(build.baseline(build.snapshot(case=case)))
    assert not store.root.exists()


def test_sidecars_are_shared_by_content(store: Store) -> None:
    for engine in ("x86", "onednn"):
        case = Case("shapes10", "simple_cnn", "static", engine)
        store.write(build.baseline(build.snapshot(case=case)))
    assert len(list((store.root / "shapes10" / "sidecars").iterdir())) == 2


def test_orphans_are_found_and_removed(store: Store) -> None:
    store.write(build.baseline())
    assert store.orphans() == ()
    store.write(build.baseline(build.snapshot(seed=1)))
    (half,) = [store.path(build.CASE).with_name(".static@x86.json.abcd1234")]
    half.write_text("{")
    found = store.orphans()
    assert len(found) == 2
    assert half in found
    assert store.remove_orphans() == found
    assert store.read(build.CASE) == (build.baseline(build.snapshot(seed=1)),)
    store.remove(build.CASE)
    store.remove(build.CASE)
    assert store.read(build.CASE) == ()
    assert len(store.remove_orphans()) == 2
    assert not list(store.root.rglob("*.safetensors"))


def test_orphans_are_not_guessed_next_to_a_damaged_file(store: Store) -> None:
    store.write(build.baseline())
    store.path(build.CASE).write_text("{")
    with pytest.raises(CorruptFileError):
        store.remove_orphans()
    assert len(list((store.root / "shapes10" / "sidecars").iterdir())) == 2


def test_a_damaged_file_is_not_written_over(store: Store) -> None:
    store.write(build.baseline())
    path = store.path(build.CASE)
    path.write_bytes(path.read_bytes()[:-20])
    damaged = path.read_bytes()
    with pytest.raises(CorruptFileError) as caught:
        store.write(build.baseline())
    assert path.read_bytes() == damaged
    assert "qreg baseline update --reason TEXT shapes10/simple_cnn/static@x86" in caught.value.hint
    path.unlink()
    store.write(build.baseline())
    assert store.read(build.CASE)


def test_what_could_not_be_read_again_is_not_written(store: Store) -> None:
    whole = build.snapshot().numerics
    layers = (replace(whole.layers[0], sqnr_db=200), *whole.layers[1:])
    odd = replace(build.snapshot(), numerics=replace(whole, layers=layers))
    with pytest.raises(ValueError, match=r"layers\[0\].sqnr_db"):
        store.write(build.baseline(odd))
    huge = build.snapshot(calibration=(2**40,))
    with pytest.raises(ValueError, match="calibration"):
        store.write(build.baseline(huge))
    assert not store.root.exists()


def test_locks_do_not_litter(store: Store) -> None:
    store.write(build.baseline())
    assert (store.root / ".locks" / ".gitignore").read_text() == "*\n"
    assert not [p for p in store.root.rglob("*.lock") if p.parent.name != ".locks"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QregError, match="cannot be written") as caught:
        Store(tmp_path / "file").write(build.baseline())
    assert "--baselines" in caught.value.hint


def test_files_stay_small(store: Store) -> None:
    seen = build.images(1000)
    found = build.snapshot(seen=seen, layers=53, channels=320, size=build.size(layers=53))
    store.write(build.baseline(found))
    assert store.path(build.CASE).stat().st_size < 35_000
    text = store.path(build.CASE).read_text()
    assert json.loads(text)["format"] == 3
    assert sum('"output_digest"' in line for line in text.splitlines()) == 54


def test_where_baselines_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QREG_BASELINES", raising=False)
    assert baseline_root() == shipped_folder()
    (tmp_path / "baselines").mkdir()
    assert baseline_root() == Path("baselines")
    monkeypatch.setenv("QREG_BASELINES", os.fspath(tmp_path / "named"))
    assert baseline_root() == tmp_path / "named"
    assert baseline_root(tmp_path / "chosen") == tmp_path / "chosen"


def test_checkpoints_hide_no_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QREG_BASELINES", raising=False)
    (tmp_path / "baselines" / "checkpoints" / "mine").mkdir(parents=True)  # as `qreg train` does
    assert baseline_root() == shipped_folder()
    assert baseline_root(to_write=True) == Path("baselines")
    (tmp_path / "baselines" / "mine").mkdir()
    assert baseline_root() == Path("baselines")


def test_an_installation_without_baselines_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QREG_BASELINES", raising=False)
    (tmp_path / "installed" / "checkpoints" / "shapes10" / "linear_100").mkdir(parents=True)
    monkeypatch.setattr("qreg.baselines.folder.shipped_folder", lambda: tmp_path / "installed")
    with pytest.raises(QregError, match="an installed qreg brings none") as caught:
        baseline_root()
    assert "--baselines" in caught.value.hint
    (tmp_path / "baselines" / "checkpoints").mkdir(parents=True)
    assert baseline_root() == Path("baselines")
