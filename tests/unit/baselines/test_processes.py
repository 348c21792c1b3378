"""Writers that are killed, and writers that write at once: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.baselines.store import Store
from tests.unit.baselines import build

ROOT = Path(__file__).parents[3]
ENDLESS = """
import sys
from pathlib import Path
from qreg.baselines.store import Store
from tests.unit.baselines import build

store = Store(Path(sys.argv[1]))
print("writing", flush=True)
while True:
    for seed in (1, 0):
        store.write(build.baseline(build.snapshot(seed=seed)))
"""
MANY = """
import sys
from dataclasses import replace
from pathlib import Path
from qreg.baselines.store import Store
from tests.unit.baselines import build

store, first = Store(Path(sys.argv[1])), int(sys.argv[2])
for threads in range(first, first + 20):
    environment = replace(build.ENVIRONMENT, threads=threads)
    store.write(build.baseline(build.snapshot(environment=environment)))
"""


def _start(code: str, *argv: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("delay_ms", [0, 3, 7, 12, 20, 33])
def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path, delay_ms: int) -> None:
    store = Store(tmp_path)
    either = [(build.baseline(build.snapshot(seed=seed)),) for seed in (0, 1)]
    store.write(either[0][0])
    with _start(ENDLESS, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(delay_ms / 1000)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert Store(tmp_path).read(build.CASE) in either
    # the lock died with its holder, and what was half written can be cleared away
    store.write(either[1][0])
    store.remove_orphans()
    assert store.read(build.CASE) == either[1]
    assert store.orphans() == ()


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    both = [_start(MANY, tmp_path, first) for first in (1, 21)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    found = Store(tmp_path).read(build.CASE)
    assert {baseline.snapshot.environment.threads for baseline in found} == set(range(1, 41))
    assert {replace(b.snapshot.environment, threads=1) for b in found} == {build.ENVIRONMENT}
