"""The blocks of README.md and docs/ that show what a command printed: list them, print one again.

    python docs/printed.py                list all, with command and date
    python docs/printed.py --run 3        run number 3 and replace its block

A block is a fence ``console`` whose first line is ``$ COMMAND  # printed DATE``; where a line is
``...`` something was left out by hand, and the block is not replaced. A table in Markdown stands
between ``<!-- printed: COMMAND # DATE -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"^```console\n\$ (?P<command>[^\n]+?)  # printed (?P<date>\d{4}-\d\d-\d\d)\n"
    r"(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TABLE = re.compile(
    r"^<!-- printed: (?P<command>.+?) # (?P<date>\d{4}-\d\d-\d\d) -->\n(?P<body>.*?)^<!-- end -->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A printed block: its page, the command, the date (ISO 8601), the text and where it is."""

    page: Path
    command: str
    date: str
    body: str
    whole: str

    @property
    def shortened(self) -> bool:
        """Whether lines were left out."""
        return any(line.strip() == "..." for line in self.body.splitlines())


def pages() -> list[Path]:
    """All pages of the documentation, README.md first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> list[Block]:
    """All printed blocks, in the order of the pages."""
    return [
        Block(page, found["command"], found["date"], found["body"], found[0])
        for page in pages()
        for pattern in (_BLOCK, _TABLE)
        for found in pattern.finditer(page.read_text(encoding="utf-8"))
    ]


def print_again(block: Block) -> None:
    """Run a block's command in the project's folder and replace what it printed."""
    if block.shortened:
        raise SystemExit(f"{block.page}: lines were left out by hand: print it by hand")
    body = run(block.command)
    head, _, end = block.whole.rpartition(block.body)
    today = datetime.date.today().isoformat()
    after = f"{head.replace(block.date, today)}{body}{end}"
    text = block.page.read_text(encoding="utf-8")
    assert text.count(block.whole) == 1, f"{block.page} has this block twice: {block.command}"
    block.page.write_text(text.replace(block.whole, after), encoding="utf-8")


def run(command: str) -> str:
    """What a command prints in the project's folder, 110 columns wide, without colours."""
    environment = {**os.environ, "COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if not done.stdout.strip():
        raise SystemExit(f"{command} printed nothing:\n{done.stderr}")
    lines = (line.rstrip() for line in done.stdout.splitlines())
    return "\n".join(lines).strip("\n") + "\n"


def main(argv: list[str] | None = None) -> int:
    """List the blocks, or print one again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=int, metavar="N", help="print block N again")
    args = parser.parse_args(argv)
    found = blocks()
    if args.run is not None:
        print_again(found[args.run - 1])
        return 0
    for number, block in enumerate(found, 1):
        left_out = " (shortened)" if block.shortened else ""
        print(f"{number:3} {block.date} {block.page.relative_to(ROOT)}{left_out}: {block.command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
