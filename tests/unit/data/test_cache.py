from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from qreg.data.cache import cached_split
from qreg.data.images import ImageSamples


def _split(value: int = 7) -> ImageSamples:
    return ImageSamples(np.full((5, 4, 4, 3), value, np.uint8), np.arange(5), np.arange(5))


class _Builder:
    """Builds a split and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> ImageSamples:
        self.count += 1
        return _split()


def test_the_second_time_it_is_mapped(own_cache: Path) -> None:
    build = _Builder()
    cached_split("key", build)
    again = cached_split("key", build)
    assert build.count == 1
    assert isinstance(again.images, np.memmap)
    assert again.fingerprint() == _split().fingerprint()


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "index.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_a_damaged_cache_is_rebuilt(own_cache: Path, name: str, damage: str) -> None:
    build = _Builder()
    cached_split("key", build)
    path = next(own_cache.rglob(name))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-3] ^= 0xFF
    if damage == "truncate":
        del content[len(content) // 2 :]
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else content)
    assert cached_split("key", build).fingerprint() == _split().fingerprint()
    assert build.count == 2
    cached_split("key", build)
    assert build.count == 2, "the rebuilt cache holds"


def test_two_writers_at_once_both_get_the_whole(own_cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached_split("key", _split), range(16)))
    assert {split.fingerprint() for split in found} == {_split().fingerprint()}
    assert [p.name for p in (own_cache / "decoded").iterdir()] == ["key-v2"]


_SLOW = """
import sys, time
import numpy as np
from qreg.data import cache
from qreg.data.cache import cached_split
from qreg.data.images import ImageSamples
lock_now = cache.lock_now
def late(handle):  # as of a process that waits for a processor
    time.sleep(0.5)
    return lock_now(handle)
cache.lock_now = late
def build():
    time.sleep(float(sys.argv[1]))
    return ImageSamples(np.full((5, 4, 4, 3), 7, np.uint8), np.arange(5), np.arange(5))
cached_split("key", build)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks")
@pytest.mark.parametrize("ends", [True, False])
def test_what_another_process_writes_is_waited_for_unless_it_ends(
    own_cache: Path, ends: bool
) -> None:
    build = _Builder()
    process = subprocess.Popen([sys.executable, "-c", _SLOW, "60" if ends else "2"])
    try:
        deadline = time.monotonic() + 30
        while not list(own_cache.glob("decoded/key-v2.half-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(cached_split, "key", build)
            time.sleep(0.5)
            assert not found.done()
            if ends:
                process.kill()
            assert found.result(timeout=30).fingerprint() == _split().fingerprint()
    finally:
        process.kill()
        process.wait()
    assert build.count == int(ends)
    assert [p.name for p in (own_cache / "decoded").iterdir()] == ["key-v2"], "nothing is left"


def test_a_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("QREG_CACHE_DIR", str(blocked))
    assert cached_split("key", _split).fingerprint() == _split().fingerprint()


_KILLED = """
import numpy as np
from qreg.data.cache import cached_split
from qreg.data.images import ImageSamples
turn = 0
while True:
    turn += 1
    images = np.full((500, 32, 32, 3), turn % 251, np.uint8)
    cached_split(f"key-{turn}", lambda: ImageSamples(images, np.arange(500), np.arange(500)))
"""


def test_kill_leaves_nothing_half_under_a_final_name(own_cache: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _KILLED])
    deadline = time.monotonic() + 30
    while len(list(own_cache.glob("decoded/key-*-v2"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    finished = sorted(own_cache.glob("decoded/key-*-v2"))
    assert len(finished) >= 5
    fail = _must_not_build
    for folder in finished:
        assert len(cached_split(folder.name.removesuffix("-v2"), fail)) == 500


def _must_not_build() -> ImageSamples:
    raise AssertionError("a finished entry was not whole")
