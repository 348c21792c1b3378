"""Collecting the warnings that making a case emits, the same ones in whatever order cases come."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# PyTorch prints what its kernels warn of, where no Python function was called by name.
_PRINTED = re.compile(r"^\[W\S* \S+ \S+\] Warning: (.*?)(?: \(function \S+\))?$")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_FOLDER = re.compile(r"(?<![:/\w])(?:/[^\s/'\"]+)+/(?=[^\s/'\"]+)")
_TRIGGERED = re.compile(r" \(Triggered internally at .*\)$")


@contextmanager
def recorded_warnings() -> Iterator[set[str]]:
    """Collect the distinct texts of warnings, instead of showing them, into the set it yields.

    PyTorch says some of them once a process, to whichever case comes first; here it says them
    every time. The set is filled at the end.
    """
    texts: set[str] = set()
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with _printed(texts), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield texts
    finally:
        torch.set_warn_always(before)
        texts.update(_TRIGGERED.sub("", str(warning.message)) for warning in caught)


def silence_one_time_warnings() -> None:
    """Let PyTorch say now, and unheard, what it says once a process of quantized tensors.

    Where kernels say it, it would stand on standard error in the middle of the work.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


def plain_text(text: str) -> str:
    """A warning's text without what differs between runs and machines: addresses, folders."""
    return " ".join(_FOLDER.sub("", _ADDRESS.sub("0x", text)).split())


@contextmanager
def _printed(texts: set[str]) -> Iterator[None]:
    """Take PyTorch's own lines off standard error; everything else goes there afterwards."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            _sort_out(file.read().decode(errors="replace"), texts)


def _sort_out(printed: str, texts: set[str]) -> None:
    for line in printed.splitlines(keepends=True):
        found = _PRINTED.match(line.rstrip("\n"))
        if found:
            texts.add(found.group(1))
        else:
            os.write(2, line.encode())
