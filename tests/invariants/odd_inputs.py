"""What torch does with inputs that quantization does not define, one probe a line.

    python -m tests.invariants.odd_inputs            # this torch's answers, as JSON
    python -m tests.invariants.odd_inputs --update   # put them into odd_inputs.json

The table holds one set of answers a version; `test_odd_inputs` says what moved. The probes run in
a process of their own, and when one kills it, the rest run in another.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from qreg.upgrade.side.edge_inputs import LETHAL, probes

TABLE = Path(__file__).with_name("odd_inputs.json")
VERSION = torch.__version__.partition("+")[0]

_RUN = """
import sys, json, warnings
warnings.simplefilter("ignore")
import torch
inf, nan = float("inf"), float("nan")
torch.backends.quantized.engine = "fbgemm"
def show(value):
    if isinstance(value, torch.Tensor):
        return str(value.tolist())
    if isinstance(value, (tuple, list)):
        return str([show(part) for part in value])
    return type(value).__name__
for name, expression in json.load(sys.stdin).items():
    try:
        answer = show(eval(expression))
    except Exception as error:
        answer = "raises " + type(error).__name__
    print(json.dumps([name, answer]), flush=True)
"""


def answers() -> dict[str, str]:
    """This torch's answer to every probe."""
    return _ask({**probes(), **LETHAL})


def _ask(expressions: dict[str, str]) -> dict[str, str]:
    """Run probes in one process; if one kills it, those after it in another."""
    run = subprocess.run(
        [sys.executable, "-c", _RUN], input=json.dumps(expressions), capture_output=True, text=True
    )
    found: dict[str, str] = dict(json.loads(line) for line in run.stdout.splitlines())
    left = {name: text for name, text in expressions.items() if name not in found}
    if run.returncode < 0 and left:
        killer = next(iter(left))
        found[killer] = f"dies of {signal.Signals(-run.returncode).name}"
        left.pop(killer)
        return found | (_ask(left) if left else {})
    if left:
        raise RuntimeError(f"no answer to {next(iter(left))}: {run.stderr[-2000:]}")
    return found


def table() -> dict[str, dict[str, str]]:
    """The pinned answers: version to probe to answer."""
    loaded: dict[str, dict[str, str]] = json.loads(TABLE.read_text())
    return loaded


def moved(expected: dict[str, str], found: dict[str, str]) -> Sequence[str]:
    """One line for each probe whose answer is not the expected one."""
    names = sorted(set(expected) | set(found))
    return [
        f"{name}: {expected.get(name, 'not asked')} -> {found.get(name, 'not asked')}"
        for name in names
        if expected.get(name) != found.get(name)
    ]


def main() -> None:
    """Print this torch's answers, or put them into the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write them into the table")
    found = answers()
    if parser.parse_args().update:
        known = table() if TABLE.exists() else {}
        text = json.dumps({**known, VERSION: found}, indent=1, sort_keys=True)
        TABLE.write_text(text + "\n")
    else:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
