"""[tool.qreg]: what it says is taken, what it should not say is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.data.draw import FIRST, Draw
from qreg.errors import QregError, UnknownNameError
from qreg.quantization import DEFAULT_METHODS
from qreg.settings import find_settings, read_settings


def write(folder: Path, table: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(table)
    return path


def test_without_a_file_or_a_table_there_are_none(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "pyproject.toml") is None
    assert read_settings(write(tmp_path, "[project]\nname = 'x'\n")) is None


def test_omitted_settings_have_defaults(tmp_path: Path) -> None:
    found = read_settings(write(tmp_path, "[tool.qreg]\nmodels = ['simple_cnn']\n"))
    assert found is not None
    assert (found.datasets, found.methods, found.engines) == (
        ("shapes10",),
        DEFAULT_METHODS,
        (),
    )
    assert found.baselines == tmp_path.resolve() / "baselines"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    table = "[tool.qreg]\nmodels = ['simple_cnn']\nbaselines = 'approved'\ndata-dir = '/data'\n"
    found = read_settings(write(tmp_path, table))
    assert found is not None
    assert found.baselines == tmp_path.resolve() / "approved"
    assert found.data_dir == Path("/data")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("methods = ['static']", "names no models"),
        ("models = 'simple_cnn'", "models = 'simple_cnn'"),
        ("models = []", r"models = \[\]"),
        ("models = [1]", r"models = \[1\]"),
        ("models = ['a']\nbaselines = 3", "baselines = 3"),
        ("models = [", "pyproject.toml"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(QregError, match=says) as caught:
        read_settings(write(tmp_path, f"[tool.qreg]\n{table}\n"))
    assert caught.value.hint


def test_a_misspelt_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="metods") as caught:
        read_settings(write(tmp_path, "[tool.qreg]\nmodels = ['a']\nmetods = ['static']\n"))
    assert "did you mean 'methods'" in caught.value.hint


def test_models_with_arguments_and_weights(tmp_path: Path) -> None:
    table = """[tool.qreg]
    models = [
        "simple_cnn",
        {factory="nets:net", width=32},
        {factory="timm:x-1", name="b", weights="w.pt"},
    ]
    """
    found = read_settings(write(tmp_path, table))
    assert found is not None
    assert found.models == ("simple_cnn", "net-width=32", "b")
    first, second = found.definitions
    assert (first.factory, first.arguments, first.weights) == ("nets:net", (("width", 32),), None)
    assert second.weights == tmp_path.resolve() / "w.pt"


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ("[{width=3}]", "factory"),
        ("[{factory='nets:net', weights=3}]", "text"),
        ("[{factory='nets:net', name='a/b'}]", "a name is of"),
        ("[{factory='resnet19'}]", "unknown model 'resnet19'"),
        ("['nets:net', {factory='other:net', name='nets.net'}]", "same baselines"),
        ("['nets:Net', 'nets:net']", "same baselines"),
        ("['simple_cnn', 'simple_cnn']", "same baselines"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(
    tmp_path: Path, models: str, says: str
) -> None:
    with pytest.raises(QregError, match=says) as caught:
        read_settings(write(tmp_path, f"[tool.qreg]\nmodels = {models}\n"))
    assert caught.value.hint


@pytest.mark.parametrize(
    "datasets",
    [["good.npz", "val/good.npz"], ["a/Photos.npz", "b/photos.npz"], ["photos.npz", "x/photos"]],
)
def test_two_datasets_of_one_file_name_are_refused(tmp_path: Path, datasets: list[str]) -> None:
    table = f"[tool.qreg]\nmodels = ['simple_cnn']\ndatasets = {datasets}\n"
    with pytest.raises(QregError, match="same baselines") as caught:
        read_settings(write(tmp_path, table))
    assert all(name in str(caught.value) for name in datasets)


def test_the_nearest_table_upwards_is_the_projects(tmp_path: Path) -> None:
    write(tmp_path, "[tool.qreg]\nmodels = ['simple_cnn']\n")
    inner = tmp_path / "package" / "deep"
    inner.mkdir(parents=True)
    write(inner.parent, "[project]\nname = 'x'\n")
    found = find_settings(inner)
    assert found is not None
    assert found.root == tmp_path.resolve()
    (inner / ".git").mkdir()
    assert find_settings(inner) is None


def test_datasets_with_a_task_a_transform_and_draws(tmp_path: Path) -> None:
    found = read_settings(
        write(
            tmp_path,
            """
[tool.qreg]
models = ["simple_cnn"]
calibration = { size = 64, seed = 3 }
datasets = [
    "shapes10",
    { source = "photos", transform = "mine:f", mean = [0, 0, 0], std = [1, 1, 1] },
    { source = "mine:make", name = "texts", task = "sequence", samples = { draw = "first" } },
]
""",
        )
    )
    assert found is not None
    assert found.datasets == ("shapes10", "photos", "texts")
    shapes, photos, texts = found.dataset_definitions
    assert shapes.calibration == photos.calibration == Draw(64, seed=3)
    assert (photos.source, photos.transform) == (str(tmp_path / "photos"), "mine:f")
    assert (texts.source, texts.task, texts.samples) == ("mine:make", "sequence", Draw(1000, FIRST))


@pytest.mark.parametrize(
    "table",
    [
        'datasets = [{ name = "x" }]',
        'datasets = [{ source = "x", tusk = "regression" }]',
        'datasets = [{ source = "x", std = [1, 1] }]',
        'datasets = [{ source = "a/x" }, { source = "b/x" }]',
        'datasets = ["a/x.npz", "b/x.npz"]',
        'datasets = [{ source = "x", name = "../y" }]',
        "calibration = 5",
        'calibration = { size = "5" }',
        'samples = { draw = "best" }',
        "samples = { size = 0 }",
    ],
)
def test_odd_datasets_and_draws_are_refused(tmp_path: Path, table: str) -> None:
    path = write(tmp_path, f'[tool.qreg]\nmodels = ["simple_cnn"]\n{table}\n')
    with pytest.raises(QregError) as caught:
        read_settings(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "table",
    [
        'leave-out = ["{}"]',
        "[tool.qreg.budget.'{}']",
        'models = [{{ factory = "{}", name = "n" }}]',
    ],
)
def test_a_text_of_a_million_characters_is_refused_at_once(table: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.qreg]\n{table.format('y*' * 500_000)}\n")
    with pytest.raises(QregError, match="a text of 1000000 characters") as caught:
        read_settings(path)
    assert "at most 4096" in caught.value.hint
