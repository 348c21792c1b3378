"""Every classification network of torchvision and forty of timm's, by `qreg check`.

    python tests/speed/zoo.py [--out zoo.jsonl] [--only NAME ...] [--again] [--report]

Random weights, random images of 64 x 64 or the smallest size that a network takes. A method that
is blocked is tried again in a few lines of plain PyTorch, in a process of its own: where those
work, qreg blocked the network itself, and that is printed. A line is written for each network as
it is finished; a later run checks only networks and methods that are not in the file, and those
that exceeded the time limit. Everything runs in forks of one process that has imported the
libraries and has run each method once: imports took most of a small network's time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.ao.nn.quantized import dynamic as nnqd

from qreg.check.attempt import attempt
from qreg.check.records import InputShape
from qreg.check.report import report_record
from qreg.check.run import CheckRequest, check
from qreg.models import build_model
from qreg.models.stubs import with_stubs
from qreg.processes.forked import Work, run_together
from qreg.quantization.needs import logging_silenced

METHODS = (
    "dynamic", "static", "static-auto", "fx-static", "pt2e-static", "torchao-int8-dynamic"
)  # fmt: skip
SIZES = (64, 75, 96, 128, 160, 192, 224, 256, 299)
SECONDS = 3600
BATCH = 2
TIMM = (
    "resnet10t", "test_vit", "test_resnet", "test_efficientnet", "test_byobnet", "test_convnext",
    "mobilenetv3_small_050", "mobilenetv4_conv_small", "lcnet_050", "tinynet_e", "ghostnet_050",
    "repvgg_a0", "fasternet_t0", "starnet_s1",
    "edgenext_xx_small",
    "efficientvit_m0", "efficientvit_b0", "mobilevit_xxs", "mobilevitv2_050", "fastvit_t8",
    "convnext_atto", "convnextv2_atto", "rexnet_100", "regnetx_002", "regnety_002",
    "efficientnet_b0",
    "ghostnetv2_100", "hardcorenas_a", "mixnet_s", "spnasnet_100", "semnasnet_100", "fbnetc_100",
    "skresnet18", "dla34", "resnest14d", "seresnext26t_32x4d", "vit_tiny_patch16_224",
    "deit_tiny_patch16_224", "mobileone_s0", "repghostnet_050",
)  # fmt: skip


def _revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


REVISION = _revision()


def names() -> list[str]:
    """The smallest networks first: one of torchvision and one of timm by turns, then the rest."""
    import torchvision
    from torchvision.models import get_model_weights, list_models, quantization

    sizes = {
        f"torchvision:{name}": get_model_weights(name).DEFAULT.meta["num_params"]
        for name in list_models(module=torchvision.models)
    }
    for name in list_models(module=quantization):
        own = name.removeprefix("quantized_")
        sizes[f"torchvision.quantization:{own}"] = sizes[f"torchvision:{own}"]
    ordered = sorted(sizes, key=lambda one: (sizes[one], one))
    pairs = zip(ordered, (f"timm:{name}" for name in TIMM), strict=False)
    return [*chain.from_iterable(pairs), *ordered[len(TIMM) :]]


def smallest(name: str) -> dict[str, Any]:
    """The smallest side of images that a network takes."""
    model, reason = build_model(name), ""
    for size in SIZES:
        try:
            with torch.no_grad():
                model(torch.randn(BATCH, 3, size, size))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return {"size": size, "parameters": sum(p.numel() for p in model.parameters())}
    raise ValueError(f"{name} takes none of {SIZES}: {reason}")


def plain(method: str, name: str, images: torch.Tensor) -> dict[str, Any]:
    """The method without qreg."""
    from qreg.models import MODELS

    torch.manual_seed(0)
    model = MODELS.get(name)().eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PLAIN[method](model, images)
    return {"works": True}


def _dynamic(model: nn.Module, x: torch.Tensor) -> None:
    made = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    made(x)
    if not any(isinstance(module, nnqd.Linear) for module in made.modules()):
        raise ValueError("no layer is quantized")


def _static(model: Any, x: torch.Tensor) -> None:
    from torch.ao import quantization as ao

    if not any(isinstance(module, ao.QuantStub) for module in model.modules()):
        model = nn.Sequential(ao.QuantStub(), model, ao.DeQuantStub()).eval()
    model.qconfig = ao.get_default_qconfig("x86")
    prepared = ao.prepare(model)
    prepared(x)
    ao.convert(prepared)(x)


def _fx(model: nn.Module, x: torch.Tensor) -> None:
    from torch.ao import quantization as ao
    from torch.ao.quantization import quantize_fx

    prepared = quantize_fx.prepare_fx(model, ao.get_default_qconfig_mapping("x86"), (x,))
    prepared(x)
    quantize_fx.convert_fx(prepared)(x)


def _pt2e(model: nn.Module, x: torch.Tensor) -> None:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(model, (x,)).module(), quantizer)
    prepared(x)
    convert_pt2e(prepared)(x)


def _torchao(model: nn.Module, x: torch.Tensor) -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    model(x)
    if all(type(weight.data) is torch.Tensor for weight in model.parameters()):
        raise ValueError("no layer is quantized")


PLAIN: dict[str, Callable[[nn.Module, torch.Tensor], None]] = {
    "dynamic": _dynamic,
    "static": _static,
    "fx-static": _fx,
    "pt2e-static": _pt2e,
    "torchao-int8-dynamic": _torchao,
}


def one(name: str, methods: tuple[str, ...], jobs: int) -> dict[str, Any]:
    """Check one network by these methods, with qreg and without."""
    start = time.monotonic()
    found = _forked({"size": partial(smallest, name)}, jobs=1, seconds=SECONDS)["size"]
    if "size" not in found:
        return {"model": name, "failed": found.get("raised") or found.get("died")}
    size = found["size"]
    shape = InputShape((3, size, size))
    request = CheckRequest(
        name,
        methods,
        "x86",
        inputs=(shape,),
        batch=BATCH,
        jobs=jobs,
        seconds=SECONDS,
        tracing=False,
        alternatives=False,
    )
    record = report_record(check(request))
    images = torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    blocked = [row["method"] for row in record["methods"] if row["outcome"] != "works"]
    tried = {m: partial(plain, m, name, images) for m in blocked if m in PLAIN}
    beside = _forked(tried, jobs=jobs, seconds=SECONDS)
    for row in record["methods"]:
        row.pop("traceback")
        if row["method"] in beside:
            row["plain"] = beside[row["method"]]
            row["plain"].pop("details", None)
    return {**record, **found, "seconds": round(time.monotonic() - start, 1)}


def added(before: dict[str, Any], name: str, jobs: int) -> dict[str, Any]:
    """The record of a network with the methods that it lacks, and those not finished, checked."""
    there = {row["method"]: row for row in before.get("methods", []) if not _late(row)}
    record = one(name, tuple(method for method in METHODS if method not in there), jobs)
    there |= {row["method"]: row for row in record.get("methods", [])}
    if not there:
        return record
    took = round(before.get("seconds", 0) + record.get("seconds", 0), 1)
    return {**record, "methods": [there[m] for m in METHODS if m in there], "seconds": took}


def _late(row: dict[str, Any]) -> bool:
    return "gave no result in" in row["reason"]


def warm_up() -> None:
    """Import and run once, before any fork, what each network needs."""
    import torchvision

    images = [torch.randn(BATCH, 3, 8, 8)]
    torchvision.models.list_models()
    with contextlib.suppress(ImportError):
        import timm

        timm.list_models()
    with logging_silenced():
        for method in METHODS:
            attempt(method, _small, "x86", images)


def _small(_: Any) -> nn.Module:
    return with_stubs(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)))


def _forked(works: dict[str, Work], *, jobs: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = {what: Path(folder, f"{number}.json") for number, what in enumerate(works)}
        pieces = [(files[what], work) for what, work in works.items()]
        run_together(pieces, jobs=jobs, seconds=seconds)
        return {what: json.loads(path.read_text()) for what, path in files.items()}


def report(records: list[dict[str, Any]], wanted: int) -> Iterator[str]:
    """The tables, as Markdown."""
    there = [record for record in records if "methods" in record]
    checked = [{**r, "methods": [row for row in r["methods"] if not _late(row)]} for r in there]
    yield f"{len(checked)} of {wanted} networks, torch {torch.__version__}.\n"
    revisions = Counter(record.get("revision", "not recorded") for record in checked)
    yield f"By revision: {', '.join(f'{n} of {one}' for one, n in revisions.items())}.\n"
    yield "| method | tried | works | blocked | unavailable | of these, plain PyTorch works |"
    yield "|---|---|---|---|---|---|"
    for method in METHODS:
        rows = [r for record in checked for r in record["methods"] if r["method"] == method]
        counts = Counter(row["outcome"] for row in rows)
        beside = sum("works" in row.get("plain", {}) for row in rows)
        found = [counts[outcome] for outcome in ("works", "blocked", "unavailable")]
        cells = [len(rows), *found, beside]
        yield f"| {method} | {' | '.join(map(str, cells))} |"
    yield "\n| method | networks | blocked by | for example |"
    yield "|---|---|---|---|"
    yield from _reasons(checked)
    yield "\n| network | " + " | ".join(METHODS) + " | size | parameters, M |"
    yield "|---|" + "---|" * (len(METHODS) + 2)
    for record in checked:
        yield _row(record)
    yield ""
    yield from _differences(checked)
    for record in there:
        for row in filter(_late, record["methods"]):
            yield f"- {record['model']}, {row['method']} was not finished: {row['reason']}"
    for record in records:
        if "failed" in record:
            yield f"- {record['model']} was not checked: {record['failed']}"


def _reasons(checked: list[dict[str, Any]]) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for record in checked:
        for row in record["methods"]:
            if row["outcome"] != "works":
                text = re.sub(r" in `.*`$", "", row["reason"]).replace("|", "\\|")
                found.setdefault((row["method"], text), []).append(
                    f"{record['model'].rpartition(':')[2]}: {row['where']}"
                )
    for (method, text), where in sorted(found.items(), key=lambda p: (p[0][0], -len(p[1]))):
        yield f"| {method} | {len(where)} | {text} | {where[0]} |"


def _row(record: dict[str, Any]) -> str:
    cells = dict.fromkeys(METHODS, "not tried")
    for row in record["methods"]:
        works = row["outcome"] == "works"
        cells[row["method"]] = "works" if works else row["operator"] or row["outcome"]
    million = record["parameters"] / 1e6
    name = record["model"]
    return f"| {name} | {' | '.join(cells.values())} | {record['size']} | {million:.1f} |"


def _differences(checked: list[dict[str, Any]]) -> Iterator[str]:
    for record in checked:
        for row in record["methods"]:
            if "works" in row.get("plain", {}):
                mine = f"{row['where']}: {row['reason']}"
                yield f"- {record['model']}, {row['method']}: plain PyTorch works; qreg: {mine}"


def _incomplete(record: dict[str, Any]) -> bool:
    checked = {row["method"] for row in record.get("methods", []) if not _late(row)}
    return "failed" not in record and not checked.issuperset(METHODS)


def _left(
    wanted: list[str], records: dict[str, dict[str, Any]], *, again: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The networks to check, each with its rows that stay: first those never checked."""
    torch.set_num_threads(1)  # kernels of a process that has run in parallel hang in its forks
    warm_up()
    for name in sorted(wanted, key=records.__contains__):
        if _incomplete(records.get(name, {})):
            yield name, records.get(name, {})
    for name in wanted if again else ():
        if records[name].get("revision") != REVISION:
            yield name, {}


def main() -> None:
    """Check what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("zoo.jsonl"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="only print what is there")
    parser.add_argument("--again", action="store_true", help="then renew rows of other revisions")
    args = parser.parse_args()
    wanted = [name for name in names() if not args.only or name in args.only]
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    records = {record["model"]: record for record in map(json.loads, lines)}
    for name, before in () if args.report else _left(wanted, records, again=args.again):
        records[name] = {**added(before, name, args.jobs), "revision": REVISION}
        with args.out.open("a") as file:
            file.write(json.dumps(records[name]) + "\n")
        print(f"{name} {records[name].get('seconds', 0)} s", flush=True)
    print("\n".join(report([records[name] for name in wanted if name in records], len(wanted))))


if __name__ == "__main__":
    main()
