"""Which variables of the environment code reads, and which of them other machines are sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.processes.variables import named_variables, sent_variables


@pytest.mark.parametrize(
    ("source", "names", "any_other"),
    [
        (b'x = os.environ["MINE"]\ny = os.getenv("NO_SUCH")', {"MINE", "NO_SUCH"}, False),
        (b'x = os.environ.get("MINE", "1")', {"MINE"}, False),
        (b"import os", set(), False),
        (b"x = os.environ[name]", set(), True),
        (b"x = os.environ.get('NET_' + name)", set(), True),
        (b"from os import environ as e\nx = e['MINE']", set(), True),
        (b"from os import getenv\nx = getenv('MINE')", {"MINE"}, True),
        (b"x = os.environb[b'MINE']", set(), True),
        (b"important = os.environ.copy()", set(), True),
        (b"x = os.path.expandvars('$MINE/x')", set(), True),
    ],
)
def test_variables_that_sources_name(source: bytes, names: set[str], *, any_other: bool) -> None:
    assert named_variables([b"import os", source]) == (names, any_other)


def test_what_is_the_machines_own_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "nets.py"
    names = ("GAIN", "UNSET", "DATA_ROOT", "HOME", "OMP_NUM_THREADS", "QREG_DATA_DIR", "PATTERN")
    module.write_text("\n".join(f"os.environ.get('{name}')" for name in names))
    (tmp_path / "notes.txt").write_text("os.environ['NOT_CODE']")
    monkeypatch.delenv("UNSET", raising=False)
    given = {"GAIN": "2", "DATA_ROOT": str(tmp_path), "QREG_DATA_DIR": "x", "PATTERN": "/no/such/*"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = sent_variables([module, tmp_path / "notes.txt"])
    assert found == {"GAIN": "2", "PATTERN": "/no/such/*", "UNSET": None}
