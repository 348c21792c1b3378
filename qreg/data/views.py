"""Inputs of a sample as something to look at: pictures, waveforms, text, heat maps."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.records.detail import View, ViewKind

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

#: Longest side of a picture, in pixels: a thumbnail of a page that stays small.
SIDE = 96
# Fewest numbers of a wave, and the number of stretches that are drawn of it.
_WAVE, _STRETCHES = 256, 96
# Numbers that are written out, of a sequence of tokens or of features.
_TOKENS, _FEATURES = 200, 24
_LONGEST_TEXT = 600
_INPUTS = 4
# How far from 0 and 1 rounding may leave a pixel that was normalised and turned back.
_ROUNDING = 1e-3
#: Colours of a heat map, from low to high: five stops of matplotlib's viridis.
_HEAT = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])


def views(
    sample: Inputs, *, text: str = "", mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> tuple[View, ...]:
    """What a page shows of a batch of one sample: at most four of its inputs.

    Args:
        text: what the sample reads as, where its source says so; shown in place of numbers.
        mean, std: by which the pixels of its images were normalised.
    """
    if text:
        return (View(ViewKind.TEXT, "", "text", data=_cut(text)),)
    each = inputs.named(sample)[:_INPUTS]
    return tuple(_view(name, tensor[0], mean, std) for name, tensor in each)


def _view(name: str, tensor: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> View:
    plain = tensor.detach().dequantize() if tensor.is_quantized else tensor.detach()
    sizes = " x ".join(map(str, plain.shape))
    what = f"{str(plain.dtype).removeprefix('torch.')} {sizes}".strip()
    if plain.is_complex():
        plain = plain.abs()
    values = (plain.float() if plain.is_floating_point() else plain).cpu().numpy()
    picture = _channels_last(values)
    if picture is not None:
        return _image(name, what, picture, mean, std)
    if _is_wave(values):
        return _wave(name, what, values.reshape(-1, values.shape[-1])[0])
    if values.ndim < 2 or values.size <= _FEATURES:
        return View(ViewKind.TEXT, name, what, data=_numbers(values))
    return _heat(name, what, values)


def _is_wave(values: Array) -> bool:
    if values.dtype.kind != "f" or values.ndim not in (1, 2):
        return False
    # one row of numbers may also be features; one of a channel is a signal
    length = int(values.shape[-1])
    if values.ndim == 1:
        return length >= _WAVE
    return int(values.shape[0]) <= 2 and length >= _WAVE // 4


def _channels_last(values: Array) -> Array | None:
    """(H, W, 1, 3 or 4) of what looks like an image in either order; None for anything else."""
    if values.ndim != 3 or values.dtype.kind not in "fu":
        return None
    if values.shape[0] in (1, 3, 4) and min(values.shape[1:]) >= 4:
        return np.moveaxis(values, 0, 2)
    return values if values.shape[2] in (1, 3, 4) and min(values.shape[:2]) >= 4 else None


def _image(
    name: str, what: str, values: Array, mean: tuple[float, ...], std: tuple[float, ...]
) -> View:
    channels, note = values.shape[2], ""
    if values.dtype == np.uint8:
        shares = values / 255.0
    elif channels == len(mean) == len(std):
        shares = values * np.asarray(std) + np.asarray(mean)
    else:
        shares = values.astype(np.float64)
    if not np.isfinite(shares).all():
        shares, note = np.nan_to_num(shares), "not finite: shown as 0"
    if shares.min() < -_ROUNDING or shares.max() > 1 + _ROUNDING:
        shares, note = _stretched(shares), note or "contrast stretched"
    pixels = (shares.clip(0, 1) * 255).round().astype(np.uint8)
    data, mime = _encoded(pixels[:, :, 0] if channels == 1 else pixels[:, :, :3])
    return View(ViewKind.IMAGE, name, what, data=data, mime=mime, note=note)


def _stretched(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low if high > low else 1.0)


def _heat(name: str, what: str, values: Array) -> View:
    note = ""
    while values.ndim > 2:
        note = note or f"the first of {values.shape[0]} slices"
        values = values[0]
    if values.ndim == 1:
        values = values[None]
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    places = _stretched(finite) * (len(_HEAT) - 1)
    colours = [np.interp(places, range(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)]
    data, mime = _encoded(np.stack(colours, axis=-1).round().astype(np.uint8))
    return View(ViewKind.HEAT, name, what, data=data, mime=mime, note=note)


def _wave(name: str, what: str, values: Array) -> View:
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    most = float(np.abs(finite).max()) or 1.0
    parts = np.array_split(finite / most * 100, min(_STRETCHES, len(finite)))
    low, high = (tuple(round(float(end(part))) for part in parts) for end in (np.min, np.max))
    return View(ViewKind.WAVE, name, what, low=low, high=high)


def _numbers(values: Array) -> str:
    flat = values.flatten()
    most = _TOKENS if values.dtype.kind in "iub" else _FEATURES
    shown = [f"{one:.4g}" if values.dtype.kind == "f" else str(one) for one in flat[:most].tolist()]
    more = f" and {len(flat) - most} more" if len(flat) > most else ""
    return _cut(" ".join(shown)) + more


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."


def _encoded(pixels: Pixels) -> tuple[str, str]:
    """Base64 of the smaller one of PNG and JPEG, and its type."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    found = []
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        image.save(
            buffer, format=kind, optimize=True, **({"quality": 80} if kind == "JPEG" else {})
        )
        found.append((buffer.getvalue(), f"image/{kind.lower()}"))
    content, mime = min(found, key=lambda one: len(one[0]))
    return base64.b64encode(content).decode(), mime
