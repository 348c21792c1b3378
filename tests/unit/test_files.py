from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qreg import files
from qreg.errors import QregError
from qreg.files import check_output, resolved, write_atomically, write_output

_UNNAMED = files._write_unnamed


@pytest.fixture(params=["unnamed", "named"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as where a file system has no files without a name."""
    if request.param == "named":
        monkeypatch.setattr(files, "_write_unnamed", lambda *_: False)


pytestmark = pytest.mark.usefixtures("_both_ways")


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_two_writers_leave_one_of_both_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    contents = [bytes([n]) * 100_000 for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(path, content), contents))
    assert path.read_bytes() in contents


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    path, left = tmp_path / "file.bin", tmp_path / ".file.bin.new"
    left.write_bytes(b"ha")
    path.write_bytes(b"old")
    if not _UNNAMED(path, b"new"):
        pytest.skip("this file system has no files without a name")
    assert path.read_bytes() == b"new"
    assert not left.exists()


_WRITER = """
import sys
from pathlib import Path
from qreg.errors import QregError
from qreg.files import check_output, write_atomically, write_output
turn = 0
while True:
    turn += 1
    write_atomically(Path(sys.argv[1]), bytes([turn % 251]) * 3_000_000)
"""


def test_kill_leaves_old_or_new_never_half(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)])
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.03)
        process.kill()
        process.wait()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
        # while the content was written there was no name
        assert {one.name for one in tmp_path.iterdir()} <= {"file.bin", ".file.bin.new"}


def test_an_output_replaces_files_and_writes_to_what_is_none(tmp_path: Path) -> None:
    pipe, there = tmp_path / "pipe", tmp_path / "there"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        write_output(pipe, b"content")
        assert read.result(10) == b"content"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    there.symlink_to(tmp_path / "real")
    write_output(there, b"content")
    assert there.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"content"
    write_output(Path("/dev/null"), b"content")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_standard_output_is_written_to_even_where_it_is_a_file(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from qreg.files import write_output; print('first', flush=True);"
        "write_output(Path('/dev/stdout'), b'second\\n'); print('third')"
    )
    with (tmp_path / "out").open("ab") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "first\nsecond\nthird\n"


@pytest.mark.parametrize("there", [False, True])
def test_a_file_has_the_mode_it_had_or_what_the_umask_leaves(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "file"
    if there:
        path.touch(0o640)
        path.chmod(0o640)
    before = os.umask(0o077)
    try:
        write_atomically(path, b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == (0o640 if there else 0o600)


def test_what_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(QregError, match="it is a folder"):
        check_output(tmp_path)
    with pytest.raises(QregError, match="cannot be written"):
        write_output(Path("/proc/none/x"), b"")


def test_links_in_a_circle_are_said(tmp_path: Path) -> None:
    circle = tmp_path / "circle.json"
    circle.symlink_to(circle.name)
    for write in (check_output, lambda path: write_output(path, b"x")):
        with pytest.raises(QregError, match=r"circle\.json cannot be written: Too many levels"):
            write(circle)
    assert circle.is_symlink()
    assert resolved(circle) == resolved(tmp_path) / circle.name
