from __future__ import annotations

import faulthandler
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from qreg.processes.forked import Work, run_pieces


def _raise() -> dict[str, Any]:
    raise LookupError("no such thing\nand more")


def _die() -> dict[str, Any]:
    faulthandler.disable()  # pytest's, in the fork
    os.kill(os.getpid(), signal.SIGILL)
    return {}


def _hang() -> dict[str, Any]:
    time.sleep(60)
    return {}


def _run(folder: Path, **pieces: Work) -> dict[str, Any]:
    run_pieces([(folder / f"{name}.json", work) for name, work in pieces.items()], seconds=1)
    assert sorted(path.stem for path in folder.iterdir()) == sorted(pieces)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in pieces}


def test_a_crash_costs_its_own_piece_only(tmp_path: Path) -> None:
    found = _run(tmp_path, a=lambda: {"pid": os.getpid()}, b=_die, c=_raise, d=_hang, e=lambda: {})
    assert found["a"]["pid"] != os.getpid()
    assert found["b"] == {"died": "was killed by SIGILL"}
    assert found["c"]["raised"] == "LookupError: no such thing"
    assert "Traceback" in found["c"]["details"]
    assert found["d"] == {"died": "gave no result in 1 s"}
    assert found["e"] == {}


def test_pieces_share_a_process(tmp_path: Path) -> None:
    found = _run(tmp_path, a=lambda: {"pid": os.getpid()}, b=lambda: {"pid": os.getpid()})
    assert found["a"] == found["b"]


def test_leaving_without_a_word(tmp_path: Path) -> None:
    found = _run(tmp_path, a=lambda: os._exit(0), b=lambda: {})  # type: ignore[arg-type]
    assert found == {"a": {"died": "wrote no result"}, "b": {}}
