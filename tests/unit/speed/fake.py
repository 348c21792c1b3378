"""Interpreters that time nothing: they write what a child would, or end as a bad one does."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from qreg.records.case import Case, Environment

CASES = tuple(Case("shapes10", model, "static", "x86") for model in ("simple_cnn", "linear_100"))
ENVIRONMENT = Environment(
    torch="2.14.1",
    torchvision="",
    torchao="",
    python="3.11.7",
    numpy="2.4.6",
    system="Linux",
    arch="x86_64",
    cpu="some",
    cpu_capability="AVX512",
    vnni=True,
    threads=1,
)

_SCRIPT = """#!{python} -SE
import hashlib, json, os, signal, sys, time
from pathlib import Path

settings = json.loads({settings!r})
job = json.loads(Path(sys.argv[-2]).read_text())
log = Path(__file__).with_suffix(".log")
number = len(log.read_text().splitlines()) if log.exists() else 0
entry = {{"pid": os.getpid(), "job": job, "path": os.environ["PYTHONPATH"]}}
with log.open("a") as file:
    file.write(json.dumps(entry) + "\\n")
Path(job["stage"]).write_text("timing")
if number in settings["crash"]:
    os.kill(os.getpid(), signal.SIGSEGV)
if number in settings["hang"]:
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    with log.open("a") as file:
        file.write(json.dumps({{"pid": child.pid}}) + "\\n")
    time.sleep(60)
result = {{"error": "ValueError: no", "stage": "making it", "details": "ValueError: no"}}
if number not in settings["refuse"]:
    draws = hashlib.sha256(f"{{__file__[-1]}} {{number}}".encode()).digest()[: len(job["cases"])]
    seconds = [settings["seconds"] * (1 + settings["noise"] * draw / 255) for draw in draws]
    extra = job["extra"] or [(0, 1)] * len(seconds)
    seconds = [s + 1e-6 * layers * (every == 1) for s, (layers, every) in zip(seconds, extra)]
    seconds = [dict(p5=s, p50=1.1 * s, p95=1.5 * s, calls=50) for s in seconds]
    kept = [[s["p5"]] * job["keep"] for s in seconds]
    if job["turns"] is not None:
        os.write(job["turns"], b"d")
        for _ in range(job["rounds"]):
            os.read(0, 1)
            os.write(job["turns"], b"d")
        os.read(0, 1)
    result = {{"environment": settings["environment"], "seconds": seconds, "kept": kept}}
Path(sys.argv[-1]).write_text(json.dumps(result))
"""


def fake_python(
    path: Path,
    *,
    seconds: float = 0.001,
    noise: float = 0.002,
    crash: tuple[int, ...] = (),
    hang: tuple[int, ...] = (),
    refuse: tuple[int, ...] = (),
) -> str:
    """Write one, and return its path; crash, hang and refuse are numbers of its processes."""
    settings = {
        "seconds": seconds,
        "noise": noise,
        "crash": crash,
        "hang": hang,
        "refuse": refuse,
        "environment": dataclasses.asdict(ENVIRONMENT),
    }
    path.write_text(_SCRIPT.format(python=sys.executable, settings=json.dumps(settings)))
    path.chmod(0o755)
    return str(path)


def log_of(path: str) -> list[dict]:
    """What its processes wrote: pid, job and PYTHONPATH."""
    return [json.loads(line) for line in Path(path).with_suffix(".log").read_text().splitlines()]
