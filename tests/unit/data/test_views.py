from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from qreg.data.views import SIDE, views
from qreg.records.detail import View, ViewKind


def _pixels(view: View) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(view.data))))


def test_a_normalised_image_is_turned_back_into_its_pixels() -> None:
    pixels = torch.arange(3 * 6 * 5).reshape(1, 3, 6, 5) / 255.0
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    shape = (1, 3, 1, 1)
    given = (pixels - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    (view,) = views(given, mean=mean, std=std)
    assert view.kind is ViewKind.IMAGE
    assert not view.note
    assert view.what == "float32 3 x 6 x 5"
    assert view.mime == "image/png"
    np.testing.assert_array_equal(_pixels(view), (pixels[0] * 255).permute(1, 2, 0).numpy().round())


def test_a_large_image_becomes_a_thumbnail_and_other_ranges_are_stretched() -> None:
    torch.manual_seed(0)
    (view,) = views(torch.randn(1, 1, 300, 200) * 9)
    assert max(_pixels(view).shape) == SIDE
    assert view.note == "contrast stretched"
    (last,) = views(torch.randint(0, 255, (1, 40, 30, 3), dtype=torch.uint8))
    assert _pixels(last).shape == (40, 30, 3)


def test_a_sound_is_a_wave() -> None:
    seconds = torch.linspace(0, 1, 8000)
    (view,) = views((seconds * torch.sin(seconds * 600))[None, None])
    assert view.kind is ViewKind.WAVE
    assert len(view.low) == len(view.high) == 96
    assert min(view.low) >= -100
    assert max(view.high) == 100
    assert view.high[-1] > 3 * view.high[5] > 0  # it becomes louder


@pytest.mark.parametrize(
    ("given", "kind", "shown"),
    [
        (torch.tensor([[101, 2023, 102]]), ViewKind.TEXT, "101 2023 102"),
        (torch.tensor([[0.5, -1.25]]), ViewKind.TEXT, "0.5 -1.25"),
        (torch.tensor([7.0]), ViewKind.TEXT, "7"),
        (torch.tensor([[True, False]]), ViewKind.TEXT, "True False"),
        (torch.arange(500)[None], ViewKind.TEXT, "and 300 more"),
        (torch.rand(1, 40, 50), ViewKind.HEAT, ""),
        (torch.rand(1, 8, 40, 50), ViewKind.HEAT, ""),
        (torch.full((1, 3, 8, 8), torch.nan), ViewKind.IMAGE, ""),
    ],
)
def test_other_inputs(given: torch.Tensor, kind: ViewKind, shown: str) -> None:
    (view,) = views(given)
    assert view.kind is kind
    assert shown in view.data


def test_several_inputs_have_names_and_a_text_comes_first() -> None:
    given = {"ids": torch.tensor([[1, 2]]), "mask": torch.tensor([[1, 1]])}
    assert [view.name for view in views(given)] == ["ids", "mask"]
    (view,) = views(given, text="a film " * 500)
    assert view.data.startswith("a film")
    assert len(view.data) <= 600
