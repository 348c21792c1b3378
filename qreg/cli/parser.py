"""The parser of all commands, without what their options need."""

from __future__ import annotations

import argparse
from typing import NoReturn

from qreg.errors import QregError


class Parser(argparse.ArgumentParser):
    """A parser that reports errors like the project: one line, and what to do."""

    def error(self, message: str) -> NoReturn:
        raise QregError(message.removeprefix("argument "), hint=f"see: {self.prog} --help")
