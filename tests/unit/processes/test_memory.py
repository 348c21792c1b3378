"""A fork that measures keeps what it freed, and asks the system for it once."""

from __future__ import annotations

import gc
import json
import resource
import sys
from pathlib import Path

import pytest

from qreg.processes.forked import run_pieces
from qreg.processes.memory import nothing_collected

_BYTES = 4 << 20


def _faults() -> dict[str, int]:
    """Page faults of a loop that allocates and frees, as a layer's outputs are."""
    import numpy as np

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        # all at once, so that freeing them leaves the heap's end free
        del [np.ones(_BYTES // 8 * (1 + n % 3)) for n in range(4)][:]
    return {"faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    run_pieces([(path, _faults)], seconds=60)
    pages = 6 * _BYTES // resource.getpagesize()
    # once for the first round, and little afterwards; each round would be 50 times as many
    assert json.loads(path.read_text())["faults"] < 4 * pages


def test_what_is_imported_is_not_looked_through() -> None:
    assert gc.isenabled()
    with nothing_collected():
        before = [one["collections"] for one in gc.get_stats()]
        kept = [[n] for n in range(50_000)]
        assert [one["collections"] for one in gc.get_stats()] == before
        with nothing_collected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    assert kept
    with pytest.raises(KeyError), nothing_collected():
        raise KeyError
    assert gc.isenabled()
