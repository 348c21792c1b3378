"""What the documents say of the code is still so."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from safetensors.numpy import load

from qreg.baselines import schema
from qreg.baselines.applicable import SAME
from qreg.baselines.changes import PROVENANCE, Category
from qreg.baselines.sidecar import encode_arrays, encode_images
from qreg.cli import build_parser
from qreg.migrate import records as migrations
from qreg.migrate.text import FORMAT as MIGRATION_FORMAT
from qreg.models import MODELS
from qreg.quantization import METHODS
from qreg.records import baseline as approvals
from qreg.records import case as records
from qreg.records import measurement as observations
from qreg.report.json_text import FORMAT
from qreg.speed import records as timings
from qreg.speed.report.check import FORMAT as SPEED_FORMAT
from qreg.upgrade import records as upgrades
from qreg.upgrade.report.text import FORMAT as UPGRADE_FORMAT
from tests.unit.baselines import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SCHEMA = (ROOT / "docs" / "measurement.md").read_text()
WRITTEN = (
    observations.Measurement,
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


BASELINES = (ROOT / "docs" / "baselines.md").read_text()
STORED = (
    schema.File,
    schema.Entry,
    schema.CorrectEntry,
    schema.SizeEntry,
    schema.TensorsEntry,
    schema.LogitsEntry,
    schema.LayerEntry,
    schema.WeightEntry,
    schema.OutputEntry,
    schema.Sidecars,
    schema.Sidecar,
    records.Case,
    records.Environment,
    approvals.Approval,
    approvals.Replaced,
)


@pytest.mark.parametrize("record", STORED, ids=lambda record: record.__name__)
def test_every_key_of_a_baseline_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        optional = field.default is not dataclasses.MISSING
        assert f"`{field.name}`{'*' if optional else ''}" in BASELINES, field.name


def test_every_array_of_a_baseline_is_described() -> None:
    found = build.snapshot()
    float_logits = dataclasses.replace(found.numerics, logits=build.logits(60, steps=0))
    weight = dataclasses.replace(found.numerics.layers[0].weight, zero_points=(1, 2, 3, 4))
    layers = (build.layer("<layer>", weight=weight),)
    arrays = {
        *load(encode_images(found.numerics.images)),
        *load(encode_arrays(dataclasses.replace(found, numerics=float_logits))),
        *load(encode_arrays(_with(found, layers=layers))),
    }
    for name in arrays:
        if not name.startswith("conv"):
            assert f"`{name}`" in BASELINES, name


def _with(found: approvals.Snapshot, **changes: object) -> approvals.Snapshot:
    return dataclasses.replace(found, numerics=dataclasses.replace(found.numerics, **changes))


def test_the_baselines_format_and_rules_are_the_codes() -> None:
    assert f"Format {schema.FORMAT} " in BASELINES
    assert f"\n- {schema.FORMAT}: " in BASELINES
    for word in (*SAME[1:], *PROVENANCE, *(category.value for category in Category)):
        assert word in BASELINES


SPEED = (ROOT / "docs" / "speed.md").read_text()
TIMED = (
    timings.SpeedRun,
    timings.SideRecord,
    timings.SpeedVerdict,
    timings.Speed,
    timings.Pair,
    timings.CaseTimes,
    timings.Timing,
    timings.Noise,
    timings.Night,
)


@pytest.mark.parametrize("record", TIMED, ids=lambda record: record.__name__)
def test_every_key_of_a_speed_run_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in SPEED, field.name
    assert f"Format {SPEED_FORMAT} " in SPEED
    assert f"\n- {SPEED_FORMAT}: " in SPEED


MIGRATION = (ROOT / "docs" / "migrate.md").read_text()
MIGRATED = (
    migrations.Migration,
    migrations.Candidate,
    migrations.Replacement,
    migrations.Work,
)


@pytest.mark.parametrize("record", MIGRATED, ids=lambda record: record.__name__)
def test_every_key_of_a_migration_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in MIGRATION, field.name
    assert f"Format {MIGRATION_FORMAT} " in MIGRATION
    assert f"\n- {MIGRATION_FORMAT}: " in MIGRATION


def test_every_fate_is_explained() -> None:
    for fate in migrations.Fate:
        assert f"**{fate.value}**" in MIGRATION


UPGRADES = (ROOT / "docs" / "upgrades.md").read_text()
COMPARED = (
    upgrades.UpgradeReport,
    upgrades.CaseUpgrade,
    upgrades.Cell,
    upgrades.Difference,
    upgrades.Artifact,
    upgrades.Sizes,
    upgrades.Change,
)


@pytest.mark.parametrize("record", COMPARED, ids=lambda record: record.__name__)
def test_every_key_of_an_upgrade_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in UPGRADES, field.name
    assert f"Format {UPGRADE_FORMAT} " in UPGRADES
    assert f"\n- {UPGRADE_FORMAT}: " in UPGRADES


@pytest.mark.parametrize("cause", [one for one in upgrades.Cause if one.value])
def test_every_cause_is_described(cause: upgrades.Cause) -> None:
    assert f"| {cause.value} |" in UPGRADES


@pytest.mark.parametrize("name", [*MODELS.names(), *METHODS.names()])
def test_the_readme_names_every_model_and_method(name: str) -> None:
    assert f"`{name}`" in README


def test_every_command_in_the_readme_is_accepted() -> None:
    pages = README + BASELINES + SPEED + MIGRATION + UPGRADES
    commands = re.findall(r"^(?:\S+/)?qreg ([^#\n]+?)(?: +#.*)?$", pages, flags=re.M)
    assert len(commands) >= 4
    for command in commands:
        build_parser().parse_args(shlex.split(command))


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
