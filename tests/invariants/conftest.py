"""Hypothesis profiles of these suites; ``HYPOTHESIS_PROFILE`` chooses one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

# Who waits for the default run sees what breaks at once; CI looks for more.
_FEW, _EXAMPLES = 20, 50
# A deadline would judge the machine's load, not the property.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": False}

settings.register_profile("default", max_examples=_FEW, **_COMMON)
settings.register_profile("nightly", max_examples=20 * _EXAMPLES, **_COMMON)
settings.register_profile("ci", max_examples=_EXAMPLES, derandomize=True, database=None, **_COMMON)
# For suites that are run once more in another process, under another instruction set.
settings.register_profile("again", max_examples=10, derandomize=True, database=None, **_COMMON)
# Shrinking explains a failure; the mutants only count one. Most need few examples.
for _name, _count in (("mutants-few", 12), ("mutants", 60)):
    settings.register_profile(
        _name,
        max_examples=_count,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        **_COMMON,
    )
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


@pytest.fixture(autouse=True)
def _engine_is_put_back() -> Iterator[None]:
    before = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = before
