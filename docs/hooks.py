"""A hook of mkdocs: `<!-- help: speed check -->` becomes what `qreg speed check --help` prints."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

from qreg.cli import build_parser

# argparse wraps at the terminal's width
os.environ["COLUMNS"] = "90"

_MARK = re.compile(r"^<!-- help: ?(.*?) ?-->$", re.MULTILINE)


def help_text(command: str) -> str:
    """What ``qreg COMMAND --help`` prints; KeyError where there is no such command."""
    parser = build_parser()
    for name in command.split():
        (choices,) = (
            action.choices
            for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
        )
        parser = choices[name]
    return parser.format_help()


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""
    return _MARK.sub(lambda found: f"```text\n{help_text(found.group(1)).rstrip()}\n```", markdown)
