"""Recording the warnings emitted while a case is built, independently of the order of cases."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qreg.quantization.needs import graph_errors_silenced

# PyTorch prints warnings of kernels that are not called through a named Python function.
_PRINTED = re.compile(r"^\[W\S* \S+ \S+\] Warning: (.*?)(?: \(function \S+\))?$")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_FOLDER = re.compile(r"(?<![:/\w])(?:/[^\s/'\"]+)+/(?=[^\s/'\"]+)")
#: What PyTorch prints of a set: attributes of a model, or quoted names, in any order.
_ATTRIBUTES = re.compile(r"\bself\.[\w.]+(?:, self\.[\w.]+)+")
_SET = re.compile(r"(?<=\{)'[^{}']*'(?:, '[^{}']*')+(?=\})")
_TRIGGERED = re.compile(r" \(Triggered internally at .*\)$")


@contextmanager
def recorded_warnings() -> Iterator[set[str]]:
    """Collect the distinct texts of warnings into the yielded set instead of showing them.

    PyTorch emits some of them once per process, for whichever case comes first; here it emits them
    every time. The set is complete at the end.
    """
    texts: set[str] = set()
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with (
            _printed(texts),
            graph_errors_silenced(),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            yield texts
    finally:
        torch.set_warn_always(before)
        texts.update(_TRIGGERED.sub("", str(warning.message)) for warning in caught)


def silence_one_time_warnings() -> None:
    """Trigger and discard the warnings that PyTorch emits once per process.

    Otherwise kernels would print them to standard error in the middle of the work.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


def plain_text(text: str) -> str:
    """A warning's text without what differs between runs and machines.

    That is addresses, folders, and the order of a set, which a process draws.
    """
    for names in (_ATTRIBUTES, _SET):
        text = names.sub(_in_order, text)
    return " ".join(_FOLDER.sub("", _ADDRESS.sub("0x", text)).split())


def _in_order(match: re.Match[str]) -> str:
    return ", ".join(sorted(match[0].split(", ")))


@contextmanager
def _printed(texts: set[str]) -> Iterator[None]:
    """Capture PyTorch's warnings on standard error; everything else is passed on at the end."""
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
