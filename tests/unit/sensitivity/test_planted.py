"""One bad site planted at each position of simple_cnn must come first in the ranking."""

from __future__ import annotations

import pytest

from qreg.faults.planted import damaged_method
from qreg.measure.options import Options
from qreg.quantization import METHODS
from qreg.quantization.engines import default_engine
from qreg.quantization.static import STATIC
from qreg.records.case import Case
from qreg.sensitivity.records import Site, SitePart
from qreg.sensitivity.run import measure_sensitivity

_LAYERS = ("conv1", "conv2", "conv3", "fc1", "fc2", "fc3")
_SITES = (
    *(f"{layer} weight" for layer in _LAYERS),
    *(f"{layer} output" for layer in ("quant", *_LAYERS)),
)
_FAST = ("conv2 weight",)


@pytest.mark.parametrize(
    "site",
    [one if one in _FAST else pytest.param(one, marks=pytest.mark.slow) for one in _SITES],
)
def test_a_bad_site_ranks_first(site: str) -> None:
    layer, part = site.split()
    case = Case("shapes10", "simple_cnn", "planted", default_engine())
    with METHODS.meaning({"planted": damaged_method(STATIC, Site(layer, SitePart(part)))}):
        found = measure_sensitivity(case, Options(limit=200, calibration=32))
    first, second = found.effects[:2]
    assert str(first.site) == site
    assert first.significant
    assert not second.tied
    assert first.only is not None
    assert first.but is not None
    # it does the damage alone, and without it nearly all is well
    assert first.only.drop > 0.2
    assert first.but.score.change > 0.2
    assert first.noise is not None
    assert first.noise > 0.9
