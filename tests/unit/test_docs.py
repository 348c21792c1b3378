"""What the documents say of the code is still so."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from safetensors.numpy import load

from qreg.baselines import schema
from qreg.baselines.applicable import SAME
from qreg.baselines.changes import PROVENANCE, Category
from qreg.baselines.sidecar import encode_arrays, encode_images
from qreg.data import DATASETS
from qreg.migrate import records as migrations
from qreg.migrate.text import FORMAT as MIGRATION_FORMAT
from qreg.models import MODELS
from qreg.quantization import METHODS
from qreg.quantization.engines import ENGINES
from qreg.records import baseline as approvals
from qreg.records import case as records
from qreg.records import measurement as observations
from qreg.records.verdict import Outcome
from qreg.report.json_text import FORMAT
from qreg.settings import Settings
from qreg.speed import records as timings
from qreg.speed.report.check import FORMAT as SPEED_FORMAT
from qreg.tasks import TASKS
from qreg.upgrade import records as upgrades
from qreg.upgrade.matrix import records as matrices
from qreg.upgrade.matrix.report import FORMAT as MATRIX_FORMAT
from qreg.upgrade.report.text import FORMAT as UPGRADE_FORMAT
from tests.invariants import deviations
from tests.unit.baselines import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SCHEMA = (ROOT / "docs" / "reference" / "measurement.md").read_text()
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


BASELINES = (ROOT / "docs" / "reference" / "baselines.md").read_text()
STORED = (
    schema.File,
    schema.StoredBaseline,
    schema.CorrectEntry,
    schema.ScoreEntry,
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
    page = (ROOT / "docs" / "commands" / "baseline.md").read_text()
    for word in (*SAME[1:], *PROVENANCE):
        assert word in page


SPEED = (ROOT / "docs" / "commands" / "speed.md").read_text()
TIMED = (
    timings.SpeedRun,
    timings.SideRecord,
    timings.SpeedVerdict,
    timings.Speed,
    timings.ProcessPair,
    timings.CaseTimes,
    timings.Timing,
    timings.Noise,
    timings.HistoryEntry,
)


@pytest.mark.parametrize("record", TIMED, ids=lambda record: record.__name__)
def test_every_key_of_a_speed_run_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in SPEED, field.name
    assert f"Format {SPEED_FORMAT} " in SPEED
    assert f"\n- {SPEED_FORMAT}: " in SPEED


MIGRATION = (ROOT / "docs" / "commands" / "migrate.md").read_text()
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


UPGRADES = (ROOT / "docs" / "commands" / "upgrade.md").read_text()
COMPARED = (
    upgrades.UpgradeReport,
    upgrades.CaseUpgrade,
    upgrades.Cell,
    upgrades.Difference,
    upgrades.Artifact,
    upgrades.Sizes,
    upgrades.InterfaceChange,
)


@pytest.mark.parametrize("record", COMPARED, ids=lambda record: record.__name__)
def test_every_key_of_an_upgrade_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in UPGRADES, field.name
    assert f"Format {UPGRADE_FORMAT} " in UPGRADES
    assert f"\n- {UPGRADE_FORMAT}: " in UPGRADES


@pytest.mark.parametrize(
    "record",
    [
        matrices.MatrixReport,
        matrices.PairRecord,
        matrices.Appearance,
        matrices.Change,
        matrices.BisectionTrial,
    ],
    ids=lambda record: record.__name__,
)
def test_every_key_of_a_matrix_is_described(record: type) -> None:
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in UPGRADES, field.name
    assert f"Format {MATRIX_FORMAT} of `--json` with `--matrix`" in UPGRADES


@pytest.mark.parametrize("cause", [one for one in upgrades.Cause if one.value])
def test_every_cause_is_described(cause: upgrades.Cause) -> None:
    assert f"| {cause.value} |" in UPGRADES


COMPARE = (ROOT / "docs" / "commands" / "compare.md").read_text()
PAGES = [
    *ROOT.glob("*.md"),
    ROOT / "tests" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("name", [*MODELS.names(), *DATASETS.names(), *METHODS.names(), *ENGINES])
def test_every_model_dataset_method_and_engine_is_named(name: str) -> None:
    assert f"`{name}`" in COMPARE


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_is_described(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "tasks.md").read_text()


def test_the_categories_of_a_change_are_described() -> None:
    page = (ROOT / "docs" / "commands" / "baseline.md").read_text()
    for category in Category:
        assert f"| `{category.value}` |" in page


def test_every_outcome_is_described() -> None:
    for page in ("gate.md", "concepts.md"):
        text = (ROOT / "docs" / page).read_text()
        for outcome in Outcome:
            assert f"| `{outcome.value}` |" in text, f"{page}: {outcome.value}"


def test_every_option_of_the_gate_is_described() -> None:
    source = (ROOT / "qreg" / "pytest_plugin.py").read_text()
    options = set(re.findall(r'"(--qreg-[a-z-]+)"', source))
    gate = (ROOT / "docs" / "gate.md").read_text()
    assert len(options) >= 8
    assert {option for option in options if option not in gate} == set()


def test_every_key_of_the_settings_is_described() -> None:
    page = (ROOT / "docs" / "gate.md").read_text()
    for field in dataclasses.fields(Settings):
        if field.name not in ("root", "definitions", "dataset_definitions"):  # no keys of the table
            assert f"`{field.name.replace('_', '-')}`" in page


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 6000


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_that_are_named_exist() -> None:
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            for name in re.findall(r"`((?:qreg|tests|docs)/[\w./]+\w/?)`", page.read_text()):
                assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_files_of_the_ten_usual_changes_exist() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where a change goes")[2]
    rows = re.findall(r"^\| an? [^|]+\|(.+)\|$", table, flags=re.M)
    assert len(rows) == 10
    for row in rows:
        files = re.findall(r"`([\w/]+/(?:\w+|<name>)\.py)`", row)
        assert files
        for file in files:
            place = (ROOT if file.startswith("tests/") else ROOT / "qreg") / file
            assert (place.parent if "<name>" in file else place).exists(), file


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in navigation, page.name


def test_the_table_of_deviations_is_what_its_command_prints() -> None:
    page = (ROOT / "docs" / "evidence" / "deviations.md").read_text()
    assert f"\n{deviations.table()}\n<!-- end -->" in page


#: these hold the texts of other machines, or the folders that Python looks for on every machine,
#: which is what they are about
_ABOUT_FOLDERS = {
    "tests/unit/test_docs.py",
    "tests/unit/measure/test_recorded_warnings.py",
    "tests/robustness/test_places.py",
}
_FOLDER = re.compile(r"(?<![\w.~:/-])/(?:tmp|home|root|work|venvs|Users|mnt|scratch)\b(?:/\w+)?")


def test_no_file_names_a_folder_of_one_machine() -> None:
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert len(files) > 100
    for name in files:
        path = ROOT / name
        if name in _ABOUT_FOLDERS or path.suffix in (".safetensors", ".png") or not path.is_file():
            continue
        found = _FOLDER.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{name}: {found.group()}"
