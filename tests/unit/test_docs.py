"""What the documents say of the code is still so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from qreg import observations, records
from qreg.cli import build_parser
from qreg.models import MODELS
from qreg.quantization import METHODS
from qreg.report.json_text import FORMAT

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SCHEMA = (ROOT / "docs" / "measurement.md").read_text()
WRITTEN = (
    records.Measurement,
    records.Failure,
    records.Case,
    records.Environment,
    observations.Accuracy,
    observations.ClassAccuracy,
    observations.Agreement,
    observations.Flip,
    observations.Size,
    observations.TensorSize,
    observations.Latency,
)


@pytest.mark.parametrize("record", WRITTEN, ids=lambda record: record.__name__)
def test_every_key_of_the_json_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in SCHEMA or f"`{field.name}`.." in SCHEMA, field.name


def test_the_schemas_version_is_the_codes() -> None:
    assert f"Format {FORMAT} " in SCHEMA
    assert f"\n- {FORMAT}: " in SCHEMA


@pytest.mark.parametrize("name", [*MODELS.names(), *METHODS.names()])
def test_the_readme_names_every_model_and_method(name: str) -> None:
    assert f"`{name}`" in README


def test_every_command_in_the_readme_is_accepted() -> None:
    commands = re.findall(r"^(?:\S+/)?qreg ([^#\n]+)$", README, flags=re.M)
    assert len(commands) >= 4
    for command in commands:
        build_parser().parse_args(command.split())


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
