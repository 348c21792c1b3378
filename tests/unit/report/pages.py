"""Verdicts and details for pages, made without torch; names that try to be markup."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from qreg.records.baseline import Approval, Replaced
from qreg.records.case import Case
from qreg.records.detail import (
    CaseDetail,
    ClassShift,
    Confusion,
    EnvironmentChange,
    Histogram,
    LayerSqnr,
    SampleDetail,
    SizeRow,
    View,
    ViewKind,
)
from qreg.records.verdict import (
    AccuracyChange,
    Basis,
    Check,
    Finding,
    MovedImage,
    Outcome,
    Verdict,
)

#: What stays text wherever it stands.
HOSTILE = '<script>alert("x")</script>\'"&[/]{{ 7*7 }}</style><!-- '
LONG = "n" * 10_000


def verdict(
    outcome: Outcome = Outcome.REGRESSED, *, model: str = "net", method: str = "static", n: int = 30
) -> Verdict:
    """A verdict with findings, flips and notes; a PASS has none."""
    case = Case("photos", model, method, "x86")
    lost = 0 if outcome is Outcome.PASS else n
    change = AccuracyChange(
        total=1000, expected=845, observed=845 - lost, won=0, lost=lost, change=-lost / 1000,
        low=-lost / 1000 - 0.01, high=-lost / 1000 + 0.01, p_value=1e-6, detectable=0.042,
        margin=0.027,
    )  # fmt: skip
    basis = Basis(exact=True, reason="same environment: judged bit by bit")
    if outcome is Outcome.PASS:
        return Verdict(case, outcome, basis, change)
    return Verdict(
        case=case,
        outcome=outcome,
        basis=basis,
        accuracy=change,
        findings=(
            Finding(Check.ACCURACY, outcome, "84.5 %", "81.5 %", "a drop below 2.7 points"),
            Finding(Check.LAYERS, outcome, "SQNR 30 dB", "SQNR 10 dB", "equal", "block.conv1"),
        ),
        moved=tuple(MovedImage(i, 1, 1, 2, 0.5, 0.25) for i in range(n)),
        notes=("first diverging layer: block.conv1 (restoring it removes 100 %)", "a note"),
        details="Traceback\n  File",
        layer="block.conv1",
        weights="checkpoint",
    )


def picture(seed: int = 0, side: int = 32) -> View:
    """A noisy picture, which no format makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return View(ViewKind.IMAGE, "", "float32 3 x 32 x 32", data=data, mime="image/png")


def detail(found: Verdict, *, samples: int = 12, layers: int = 20, name: str = "dog") -> CaseDetail:
    """A detail with everything."""
    views = (
        picture(),
        View(ViewKind.WAVE, "sound", "float32 16000", low=(-50, -100, -3), high=(40, 100, 2)),
        View(ViewKind.TEXT, "text", "text", data=f"a film {name}"),
    )
    sqnr = [LayerSqnr(f"block.conv{i}", "quantized.Conv2d", 40.0 - i, 38.0 - i * (i > 0) - i)
            for i in range(layers)]  # fmt: skip
    return CaseDetail(
        case=found.case,
        measure="accuracy",
        unit="%",
        value=0.815,
        value_before=0.845,
        file_bytes=675_000,
        file_bytes_before=670_000,
        speed_up=1.8,
        speed_up_before=2.1,
        changed=len(found.moved),
        samples=tuple(
            SampleDetail(i, name, name, "cat", 0.5, 0.25, True, views[i % 3 : i % 3 + 1])
            for i in range(samples)
        ),
        layers=tuple(sqnr),
        histograms=(
            Histogram("block.conv1", "output", -1.0, 3.0, (9, 100, 30, 2), (9, 100, 32, 0),
                      (-1.0, 2.5), (-1.0, 3.0), 0.014, 0.0),
        ),
        classes=(ClassShift(name, 100, 90, 60), ClassShift("cat", 100, 80, 82)),
        confusions=(Confusion(name, name, "cat", 30),),
        sizes=(SizeRow("block.conv1", "qint8", 400, 400), SizeRow("fc", "float32", 10, 40)),
        environment=(EnvironmentChange("torch", "2.14.1", "2.15.0"),),
        approvals=(
            Approval("first baseline", "2026-11-01T10:00:00+00:00", "ab" * 20, "0.2.0"),
            Approval("retrained", "2026-11-20T10:00:00+00:00", "cd" * 20, "0.2.0",
                     Replaced(Outcome.IMPROVED, 840, 845, 1000, 12, 0.4)),
        ),
        notes=("histograms could not be collected: a reason",),
    )  # fmt: skip
