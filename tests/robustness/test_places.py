"""Where qreg is run: full disks, folders that cannot be written, odd names, bare environments."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qreg.baselines.store import Store
from qreg.checks.verdict import judge
from qreg.data import load_split, open_path
from qreg.errors import QregError
from qreg.files import append_lines, check_output, write_output
from qreg.quantization import METHODS
from qreg.records.verdict import Basis
from qreg.settings import find_settings
from tests.robustness.kills import _project
from tests.robustness.kinds import _image_arrays, _npz
from tests.unit.baselines import build

ROOT = Path(__file__).parents[2]
_METHOD = (Basis(exact=True, reason="same"), METHODS.info("static"))
#: No one may write there, root neither.
NOWHERE = Path("/proc/nowhere")
NAMES = (
    "with blanks",
    "with\nnewline",
    "-rf",
    "~",
    "$HOME",
    "*?[a]",
    "a;b|c&d",
    "'quoted\"",
    "ünïcödé",
    "\u202eright to left",
    "%s{0}",
    "a" * 200,
)


@contextlib.contextmanager
def _mounted(disk: Path, options: str) -> Iterator[Path]:
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a disk may not be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte, with a fifth of it left."""
    with _mounted(tmp_path / "disk", "size=512k") as disk:
        (disk / "ballast").write_bytes(bytes(400 << 10))
        yield disk


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project whose cases have baselines."""
    folder = tmp_path_factory.mktemp("project")
    _project(folder)
    update = ("baseline", "update", "--reason", "r", "--category", "create")
    done = _qreg(folder, *update)
    assert done.returncode == 0, done.stderr
    return folder


def _qreg(
    folder: Path, *words: str, under: Sequence[str] = (), **variables: str | None
) -> subprocess.CompletedProcess[str]:
    kept = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "OMP_NUM_THREADS": "1", **variables}
    kept["CI"] = None
    module = () if words[0] == "pytest" else ("qreg",)
    return subprocess.run(
        [*under, sys.executable, "-m", *module, *words],
        cwd=folder,
        env={name: value for name, value in kept.items() if value is not None},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )


_GATE = ("pytest", "-q", "-n0", "-p", "no:cacheprovider", "-m", "regression")
_COMPARE = ("compare", "--methods", "fp32,dynamic")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (_GATE, {"TMPDIR": str(NOWHERE), "HOME": str(NOWHERE)}),
        (_COMPARE, {"TMPDIR": str(NOWHERE), "HOME": None, "QREG_CACHE_DIR": str(NOWHERE)}),
        (_GATE, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (_COMPARE, {"TERM": None, "PATH": "", "COLUMNS": "1", "PYTHONIOENCODING": "ascii"}),
    ],
    ids=str,
)
def test_models_run_in_a_bare_environment(
    project: Path, words: tuple[str, ...], variables: dict[str, str | None]
) -> None:
    done = _qreg(project, *words, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_project_that_cannot_be_written_is_judged(project: Path, tmp_path: Path) -> None:
    with _mounted(tmp_path / "disk", "size=20m") as disk:
        shutil.copytree(project, disk / "p")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        gate = _qreg(disk / "p", *_GATE)
        assert gate.returncode == 0, gate.stdout + gate.stderr
        refused = (
            (*_COMPARE, "--json", "out.json"),
            ("baseline", "update", "--reason", "r", "--category", "create"),
            ("train", "--model", "nets:tiny", "--dataset", "colours.npz", "--out", "mine"),
            ("init", "nets:tiny", "--dataset", "colours.npz", "--force"),
            ("history", "record"),
        )
        for words in refused:
            done = _qreg(disk / "p", *words)
            assert done.returncode == 2, (words, done.stdout, done.stderr)
            assert "cannot be written" in done.stderr, (words, done.stderr)
            assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_where_no_temporary_file_can_be_made_it_is_said(project: Path) -> None:
    # all places that Python looks for, in a name space of this command
    script = """
        for one in /tmp /var/tmp /usr/tmp "$PWD"; do
            [ ! -d "$one" ] || { mount --bind "$one" "$one" && mount -o remount,bind,ro "$one"; }
        done && exec "$@"
    """
    under = ("unshare", "-m", "sh", "-euc", script, "sh")
    if not shutil.which("unshare") or subprocess.run([*under, "true"], check=False).returncode:
        pytest.skip("file systems may not be mounted here")
    words = ("check", "nets:tiny", "--dataset", "colours.npz")
    done = _qreg(project, *words, under=under, TMPDIR=None)
    assert done.returncode == 2, done.stderr
    assert "o usable temporary directory" in done.stderr
    assert "Traceback" not in done.stderr


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "more").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 10))


def test_a_full_disk_keeps_the_baseline_that_is_there(full_disk: Path) -> None:
    store, before = Store(full_disk / "baselines"), build.baseline()
    store.write(before)
    _fill(full_disk)
    with pytest.raises(QregError, match="No space left"):
        store.write(build.baseline(build.snapshot(seed=1)))
    assert store.read(build.CASE) == (before,)
    assert not [path for path in full_disk.rglob(".*.*") if path.stat().st_size == 0]


def test_what_is_applied_on_a_full_disk_is_said(full_disk: Path) -> None:
    from qreg.baselines.changes import Category, Proposal
    from qreg.gate.approve import ApprovalRequest, _apply
    from qreg.gate.proposals import ProposalRequest
    from qreg.measure.options import Options
    from qreg.selection import CaseChoice
    from qreg.settings import Settings

    store = Store(full_disk / "baselines")
    store.write(build.baseline())
    _fill(full_disk)
    settings = Settings(root=full_disk, models=())
    asked = ProposalRequest(settings, store, CaseChoice(), Options())
    request = ApprovalRequest(asked, reason="r", date="2026-01-01T00:00:00+00:00", commit="")
    now = build.snapshot(environment=replace(build.ENVIRONMENT, cpu="another"))
    verdict = judge(now, store.read(build.CASE)[0], *_METHOD, alpha=0.01)
    change = Proposal(Category.CREATE, build.CASE, "new", verdict, now)
    applied, failures = _apply([change], store, request)
    assert not applied
    assert [one.case for one in failures] == [build.CASE]
    assert "not applied" in failures[0].reason
    assert "No space left" in failures[0].reason


def test_a_full_disk_keeps_a_history_and_a_report(full_disk: Path) -> None:
    append_lines(full_disk / "h.jsonl", ["a"])
    write_output(full_disk / "report.json", b"old")
    _fill(full_disk)
    with pytest.raises(QregError, match="No space left"):
        write_output(full_disk / "report.json", bytes(1 << 20))
    assert (full_disk / "report.json").read_bytes() == b"old"
    with pytest.raises(OSError):  # noqa: PT011
        append_lines(full_disk / "h.jsonl", ["b" * (1 << 20)])
    assert (full_disk / "h.jsonl").read_bytes().startswith(b"a\n")


def test_samples_are_read_where_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.npz").write_bytes(_npz(**_image_arrays()))
    found = []
    for cache in (tmp_path / "cache", NOWHERE):
        monkeypatch.setenv("QREG_CACHE_DIR", str(cache))
        found.append(load_split(open_path(tmp_path / "data.npz"), "test").fingerprint())
    assert found[0] == found[1]


def test_what_cannot_be_written_is_found_first() -> None:
    with pytest.raises(QregError, match="cannot be written"):
        check_output(NOWHERE / "report.json")
    with pytest.raises(QregError, match="cannot be written"):
        Store(NOWHERE).write(build.baseline())


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    store = Store(folder / "baselines")
    store.write(build.baseline())
    assert store.cases() == (build.CASE,)
    assert store.read(build.CASE) == (build.baseline(),)
    (folder / "data.npz").write_bytes(_npz(**_image_arrays()))
    assert len(load_split(open_path(folder / "data.npz"), "test")) == 5
    (folder / "pyproject.toml").write_text('[tool.qreg]\nmodels = ["simple_cnn"]\n')
    settings = find_settings(folder)
    assert settings is not None
    assert settings.root == folder.resolve()


@pytest.mark.parametrize("name", ["x/y", "a\x00b", ".hidden", "a\nb", "\u202ex", ""])
def test_a_case_may_not(tmp_path: Path, name: str) -> None:
    case = replace(build.CASE, model=name)
    with pytest.raises(QregError):
        Store(tmp_path).write(build.baseline(build.snapshot(case=case)))
    assert not list(tmp_path.rglob("*.json"))


def test_a_very_long_name_has_a_file(tmp_path: Path) -> None:
    case = replace(build.CASE, model="n:" + "a" * 3000)
    found = build.baseline(build.snapshot(case=case))
    Store(tmp_path).write(found)
    assert Store(tmp_path).cases() == (case,)
    assert Store(tmp_path).read(case) == (found,)


def test_names_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.qreg]\nmodels = ["n:Net", "n:net"]\n')
    with pytest.raises(QregError, match="same baselines"):
        find_settings(tmp_path)


@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": None},
        {"HOME": str(NOWHERE)},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"TMPDIR": str(NOWHERE)},
        {"COLUMNS": "1"},
        {"TERM": None, "PATH": ""},
    ],
    ids=str,
)
def test_a_bare_environment_is_enough(tmp_path: Path, variables: dict[str, str | None]) -> None:
    baseline = build.baseline(build.snapshot(), build.approval("größer \u202e \x1b[31m"))
    Store(tmp_path / "baselines").write(baseline)
    kept = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, "-m", "qreg", "baseline", "show", str(build.CASE)],
        cwd=tmp_path,
        env={name: value for name, value in kept.items() if value is not None},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout
    assert b"\\u202e" in done.stdout or variables.get("COLUMNS") == "1"


def test_new_files_have_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Store(tmp_path / "baselines").write(build.baseline())
        append_lines(tmp_path / "h.jsonl", ["a"])
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 4
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_links_in_the_lock_folder_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    locks = tmp_path / "baselines" / ".locks"
    locks.mkdir(parents=True)
    (locks / ".gitignore").symlink_to(precious)
    Store(tmp_path / "baselines").write(build.baseline())
    assert precious.read_text() == "kept"
    (locks / "store.lock").unlink()
    (locks / "store.lock").symlink_to(precious)
    with pytest.raises(QregError, match="cannot be written"):
        Store(tmp_path / "baselines").write(build.baseline())
    shutil.rmtree(locks)
    locks.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(QregError, match="link"):
        Store(tmp_path / "baselines").write(build.baseline())
    assert precious.read_text() == "kept"


@pytest.mark.slow
def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "bomb.npz"
    header = {"descr": "|u1", "fortran_order": False, "shape": (600, 1 << 10, 1 << 10, 1)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("test_images.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(600):
            file.write(bytes(1 << 20))
    with pytest.raises(QregError, match="unpack to"):
        open_path(path)
