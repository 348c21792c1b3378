from __future__ import annotations

import torch
from torch.ao.quantization import observer as observers

from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.method import Context
from qreg.quantization.static import quantize_static
from qreg.upgrade.side.observers import Log, recorded_observers
from tests.unit.metrics import nets


def _recorded(images: torch.Tensor) -> Log:
    context = Context(default_engine(), lambda: iter([images[:3], images[3:]]))
    with use_engine(default_engine()), recorded_observers() as log:
        quantize_static(nets.source(), context, weights="per_channel")
    return log


def test_each_observer_is_named_with_its_inputs_and_results() -> None:
    rows = _recorded(nets.images()).rows()
    places = [row["name"].removesuffix(".activation_post_process") for row in rows if row["name"]]
    assert places == ["quant", "conv", "again", "add", "fc"]
    assert {row["kind"] for row in rows if not row["name"]} == {"PerChannelMinMaxObserver"}
    assert all(row["scales"] for row in rows)
    assert len(rows[-1]["scales"]) in (5, 8)


def test_the_same_floats_have_the_same_digest() -> None:
    one, again, other = (
        _recorded(x).rows() for x in (nets.images(), nets.images(), -nets.images())
    )
    assert one == again
    assert one[0]["inputs"] != other[0]["inputs"]


def test_the_layout_is_no_matter() -> None:
    images = nets.images()
    rows = []
    for x in (images, images.contiguous(memory_format=torch.channels_last)):
        found = observers.MinMaxObserver()
        with recorded_observers() as log:
            found(x)
        rows.append(log.rows()[0]["inputs"])
    assert rows[0] == rows[1]


def test_classes_are_put_back() -> None:
    before = observers.HistogramObserver.calculate_qparams
    _recorded(nets.images())
    assert observers.HistogramObserver.calculate_qparams is before
