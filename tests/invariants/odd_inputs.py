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

TABLE = Path(__file__).with_name("odd_inputs.json")
VERSION = torch.__version__.partition("+")[0]

_T = "torch.quantize_per_tensor({x}, {s}, {z}, torch.{d})"
_C = (
    "torch.quantize_per_channel({x}.reshape(1, -1), torch.tensor([{s}]), torch.tensor([{z}]), 0,"
    " torch.{d})"
)
_FT = "torch.fake_quantize_per_tensor_affine({x}, {s}, {z}, -128, 127)"
_FC = (
    "torch.fake_quantize_per_channel_affine({x}.reshape(1, -1), torch.tensor([{s}]),"
    " torch.tensor([{z}], dtype=torch.int32), 0, -128, 127)"
)
_X = "torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])"
_ODD = "torch.tensor([nan, inf, -inf])"
_DTYPES = {"qint8": (128, -129), "quint8": (256, -1), "qint32": (2**31, -(2**31) - 1)}


def probes() -> dict[str, str]:
    """Name to expression; each gives a tensor, a tuple or a number."""
    found: dict[str, str] = {}
    for dtype, beyond in _DTYPES.items():
        for way, form in (("per tensor", _T), ("per channel", _C)):
            for scale in ("-1.0", "0.0", "nan", "inf", "1e-45"):
                text = form.format(x=_X, s=scale, z=1, d=dtype)
                found[f"{way} {dtype} scale {scale}"] = f"({text}).int_repr()"
            for zero in beyond:
                text = form.format(x=_X, s=1.0, z=zero, d=dtype)
                found[f"{way} {dtype} zero point {zero}"] = f"({text}).int_repr()"
            text = form.format(x=_ODD, s=1.0, z=0, d=dtype)
            found[f"{way} {dtype} nan, inf, -inf"] = f"({text}).int_repr()"
    for way, form in (("per tensor", _FT), ("per channel", _FC)):
        for scale in ("-1.0", "0.0", "nan", "inf"):
            found[f"fake {way} scale {scale}"] = form.format(x=_X, s=scale, z=1)
        for zero in (128, -129):
            found[f"fake {way} zero point {zero}"] = form.format(x=_X, s=1.0, z=zero)
        found[f"fake {way} nan, inf, -inf"] = form.format(x=_ODD, s=1.0, z=0)
    return {**found, **_observers(), **_dynamic()}


def _observers() -> dict[str, str]:
    kinds = {
        "min-max": "MinMaxObserver()",
        "moving average": "MovingAverageMinMaxObserver()",
        "per channel": "PerChannelMinMaxObserver()",
        "histogram": "HistogramObserver()",
    }
    data = ("nan, 1.0", "inf, 1.0", "-inf, inf", "", "0.0", "3e38, -3e38")
    found = {}
    for name, make in kinds.items():
        for values in data:
            x = f"torch.tensor([[{values}]])"
            run = f"(lambda o: (o({x}), o.calculate_qparams())[1])(torch.ao.quantization.{make})"
            found[f"observer {name} of [{values}]"] = run
    return found


def _dynamic() -> dict[str, str]:
    weight = "torch.quantize_per_tensor(torch.ones(1, 2), 0.5, 0, torch.qint8)"
    run = "torch.ops.quantized.linear_dynamic(torch.tensor([[{}]]), {})"
    packed = f"torch.ops.quantized.linear_prepack({weight}, None)"
    data = ("nan, 1.0", "inf, 1.0", "0.0, 0.0", "3e38, -3e38", "1e-45, 0.0")
    return {f"dynamic linear of [{x}]": run.format(x, packed) for x in data}


#: Kill the process in some version, or have been known to.
LETHAL = {
    "per channel float zero points": (
        "torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.tensor([0.5, 1.5]), 0,"
        " torch.qint32).dequantize()"
    ),
    "dynamic linear of no rows": (
        "torch.ops.quantized.linear_dynamic(torch.ones(0, 2), torch.ops.quantized.linear_prepack("
        "torch.quantize_per_tensor(torch.ones(1, 2), 0.5, 0, torch.qint8), None))"
    ),
    "linear of no columns": (
        "torch.ops.quantized.linear_prepack("
        "torch.quantize_per_tensor(torch.ones(1, 0), 0.5, 0, torch.qint8), None)"
    ),
    "convolution of no images": (
        "torch.ops.quantized.conv2d(torch.quantize_per_tensor(torch.ones(0, 1, 3, 3), 1, 0,"
        " torch.quint8), torch.ops.quantized.conv2d_prepack(torch.quantize_per_tensor("
        "torch.ones(1, 1, 1, 1), 1, 0, torch.qint8), None, [1, 1], [0, 0], [1, 1], 1), 1.0, 0)"
        ".int_repr()"
    ),
}

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
