"""Releases between two versions; the index is asked by the real pip."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.upgrade.index import between, releases
from qreg.upgrade.releases import is_version, short_side
from tests.unit.upgrade.wheels import make_wheel

KNOWN = (
    "2.15.0", "2.14.1", "2.14.0rc2", "2.13.0+cpu", "2.13.0", "2.12.0.post1", "2.12.0",
    "2.11.0.dev20260101", "2.10.0", "2.9.1", "no version",
)  # fmt: skip


def test_stable_releases_and_post_releases_in_the_direction_of_the_pair() -> None:
    wanted = ("2.10.0", "2.12.0", "2.12.0.post1", "2.13.0")
    assert between("2.9.1", "2.14.1", KNOWN) == wanted
    assert between("2.14.1+cu128", "2.9.1", KNOWN) == tuple(reversed(wanted))
    assert between("2.14.1", "2.15.0", KNOWN) == ()
    assert between("2.14.1", "2.14.1", KNOWN) == ()
    assert between("", "2.14.1", KNOWN) == ()


def test_pre_releases_count_where_an_end_is_one() -> None:
    assert "2.14.0rc2" in between("2.13.0", "2.15.0rc1", KNOWN)
    assert "2.14.0rc2" not in between("2.13.0", "2.15.0", KNOWN)
    assert between("2.10.0", "2.12.0a1", KNOWN) == ("2.11.0.dev20260101",)


def test_all_of_them_may_be_sides() -> None:
    assert all(map(is_version, ("2.12.0.post1", "2.14.0rc2", "2.11.0.dev20260101", "2.13.0+cpu")))


def test_sides_are_short() -> None:
    assert short_side("2.14.1") == "2.14.1"
    assert short_side("/somewhere/venv-new/bin/python3.11") == "venv-new"
    assert short_side("../venv-new") == "venv-new"
    assert short_side("onnxruntime==1.20.1") == "onnxruntime==1.20.1"
    assert short_side(".") == "."


@pytest.mark.slow
def test_pip_lists_them_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"NO_INDEX": "1", "CONFIG_FILE": "/dev/null", "FIND_LINKS": str(tmp_path)}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for version in ("1.0.0", "1.1.0", "1.1.0.post1", "2.0.0rc1"):
        make_wheel(tmp_path, "qregnosuchthing", version)
    found = releases("qregnosuchthing")
    assert set(found) == {"1.0.0", "1.1.0", "1.1.0.post1", "2.0.0rc1"}
    with pytest.raises(QregError, match="releases of qregnothing cannot be listed") as caught:
        releases("qregnothing")
    assert "--releases" in caught.value.hint
