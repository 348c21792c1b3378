"""Being asked to end: one exception, where nothing is cut in two."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time

import pytest

from qreg.processes.stopping import Stopped, asked_to_stop, stoppable, whole


def _ask(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_exception(number: int) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)  # under nohup a hang-up is ignored, as it is asked to be
    try:
        _is_an_exception(number)
    finally:
        signal.signal(number, before)


def _is_an_exception(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as found, stoppable():
        _ask(number)
    assert found.value.number == number == asked_to_stop()
    assert signal.getsignal(number) == before


def test_what_is_written_as_a_whole_is_finished() -> None:
    done = []

    def write() -> None:
        with whole():
            _ask(signal.SIGTERM)
            done.append("written")
        done.append("the next one")

    with pytest.raises(Stopped), stoppable():
        write()
    assert done == ["written"]


def test_one_that_a_destructor_swallows_comes_again(capfd: pytest.CaptureFixture[str]) -> None:
    class Held:
        def __del__(self) -> None:
            _ask(signal.SIGTERM)

    def drop() -> None:
        held = Held()
        del held
        time.sleep(1)

    with pytest.raises(Stopped), stoppable():
        drop()
    assert capfd.readouterr().err == ""


def test_an_import_is_finished_first(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = os.fspath(tmp_path) + "/half_imported.py"
    with open(module, "w") as file:  # noqa: PTH123
        file.write("import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\n"
                   "time.sleep(0.05)\nDONE = True\n")  # fmt: skip
    monkeypatch.syspath_prepend(os.fspath(tmp_path))

    def load() -> None:
        importlib.import_module("half_imported")
        time.sleep(1)

    with pytest.raises(Stopped), stoppable():
        load()
    assert sys.modules["half_imported"].DONE
