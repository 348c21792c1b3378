"""The parser of all commands, without what their options need."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from qreg.errors import QregError

# The parser of the command that is run, which knows its own options.
_COMMAND = "_command"


class Parser(argparse.ArgumentParser):
    """A parser that reports errors like the project: one line, and what to do."""

    def error(self, message: str) -> NoReturn:
        raise QregError(message.removeprefix("argument "), hint=f"see: {self.prog} --help")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """As argparse's; what a command does not know is reported with that command's help."""
        found: argparse.Namespace
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            getattr(found, _COMMAND, self)._refuse(unknown)
        return found

    def names_itself(self) -> None:
        """Let what this parser of a command does not know be reported by it."""
        self.set_defaults(**{_COMMAND: self})

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        own = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], own, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
