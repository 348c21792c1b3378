"""Names and numbers on the command lines of qreg and pytest."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.files import check_output


def split_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names in comma-separated lists, each once, in their order."""
    lists = (names,) if isinstance(names, str) else names
    found = (name.strip() for one in lists for name in one.split(","))
    return tuple(dict.fromkeys(name for name in found if name))


class Names(argparse.Action):
    """An option of several names: ``--model a,b`` and ``--model a --model b`` are the same.

    The default, a tuple, holds where the option is not given.

    Args:
        among: the names that may be given; None for any.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        among: Sequence[str] | None = None,
        default: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        super().__init__(option_strings, dest, default=default, **more)
        self.among = among

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        names = split_names(values or "")
        if not names:
            raise argparse.ArgumentError(self, "names nothing")
        for name in names:
            if self.among is not None and name not in self.among:
                raise argparse.ArgumentError(self, f"'{name}' is not of {', '.join(self.among)}")
        before = getattr(namespace, self.dest, None)
        kept = () if before is self.default or before is None else tuple(before)
        setattr(namespace, self.dest, tuple(dict.fromkeys((*kept, *names))))


class Once(argparse.Action):
    """An option of one name, which may only be given once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        given = f"_{self.dest}_is_given"
        if hasattr(namespace, given):
            raise argparse.ArgumentError(self, "it is given twice; this command takes one")
        setattr(namespace, given, True)
        setattr(namespace, self.dest, values)


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    return _number(text, 1, "a positive number")


def positive_or_zero(text: str) -> int:
    """A whole number of 0 or more."""
    return _number(text, 0, "a positive number or 0")


def output_file(text: str) -> Path:
    """A file that is to be written: whether it can be is found before the work, not after it."""
    path = Path(text)
    try:
        check_output(path)
    except QregError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def _number(text: str, lowest: int, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise argparse.ArgumentTypeError(f"{text} is not {what}")
    return number
