"""Ranges that two methods of a model share: the same bits as when each observes for itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.models import build_model
from qreg.quantization import Context, get_method
from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.sharing import SharedRanges

SHAPE = (2, 3, 32, 32)


def batches(count: list[int], seed: int = 0) -> Callable[[], Iterator[Any]]:
    def calibration() -> Iterator[Any]:
        for number in range(2):
            count.append(number)
            yield torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed + number))

    return calibration


def quantized(method: str, ranges: SharedRanges | None, count: list[int], seed: int = 0) -> Any:
    engine = default_engine()
    with use_engine(engine), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = Context(engine, batches(count), torch.zeros(SHAPE), ranges=ranges)
        model = get_method(method).quantize(build_model("simple_cnn", seed=seed), context).eval()
        return model(torch.randn(SHAPE, generator=torch.Generator().manual_seed(9)))


def test_the_second_method_runs_nothing_and_has_the_same_bits() -> None:
    shared, count = SharedRanges(), list[int]()
    alone = [quantized(one, None, []) for one in ("static", "static-per-tensor")]
    together = [quantized(one, shared, count) for one in ("static", "static-per-tensor")]
    assert count == [0, 1]  # of the first alone
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert not torch.equal(*alone)


METHODS = ("static", "static-per-tensor", "fx-static")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What each search of PyTorch's histogram observer was given."""
    found: list[bytes] = []
    real = ao.HistogramObserver._non_linear_param_search

    def search(observer: Any) -> Any:
        held = (observer.min_val, observer.max_val, observer.histogram)
        found.append(b"".join(one.numpy().tobytes() for one in held))
        return real(observer)

    monkeypatch.setattr(ao.HistogramObserver, "_non_linear_param_search", search)
    return found


def test_equal_histograms_are_searched_once_and_give_the_same_bits(searches: list[bytes]) -> None:
    alone = [quantized(one, None, []) for one in METHODS]
    each = list(searches)
    searches.clear()
    shared = SharedRanges()
    together = [quantized(one, shared, []) for one in METHODS]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert sorted(searches) == sorted(set(each))
    assert len(searches) < len(each)


def test_a_search_is_that_of_its_observer_and_of_pytorch(searches: list[bytes]) -> None:
    shared, kind = SharedRanges(), ao.HistogramObserver
    values = torch.linspace(-1, 2, 999)

    def ends(observer: Any) -> Any:
        observer(values)
        with shared.searching_once():
            return observer._non_linear_param_search()

    class Wider(kind):  # type: ignore[misc, valid-type]
        def _compute_quantization_error(self, start: int, end: int) -> float:
            return 0.0

    first, fewer = ends(kind()), ends(kind(bins=64))
    assert [len(searches), first[1] == fewer[1]] == [2, False]
    first[1].add_(1)  # what it is given is its own
    assert ends(kind())[1] == first[1] - 1
    assert len(searches) == 2
    ends(Wider()), ends(Wider())
    assert len(searches) == 4
    with pytest.raises(KeyError), shared.searching_once():
        raise KeyError
    own = vars(kind)["_non_linear_param_search"]
    with shared.searching_once():
        assert vars(kind)["_non_linear_param_search"] is not own
        kind._non_linear_param_search = other = lambda observer: own(observer)  # a method's patch
    assert vars(kind)["_non_linear_param_search"] is other
    ends(kind())
    assert len(searches) == 5  # it is another search


def test_calibration_samples_are_loaded_once() -> None:
    shared, loads = SharedRanges(), list[int]()
    for _ in range(2):
        assert shared.calibration(lambda: loads.append(1) or "samples") == "samples"
    assert loads == [1]


def test_other_weights_are_observed_themselves() -> None:
    shared, count = SharedRanges(), list[int]()
    quantized("static", shared, count, seed=0)
    other = quantized("static", shared, count, seed=1)
    assert count == [0, 1, 0, 1]
    assert torch.equal(other, quantized("static", None, [], seed=1))


class Prepared(nn.Module):
    """A layer with an observer, that may count its calls."""

    def __init__(self, *, reduce_range: bool = False) -> None:
        super().__init__()
        from torch.ao.quantization import MinMaxObserver

        self.observer = MinMaxObserver(reduce_range=reduce_range)
        self.calls = nn.Buffer(torch.zeros(1)) if hasattr(nn, "Buffer") else None
        if self.calls is None:
            self.register_buffer("calls", torch.zeros(1))


@pytest.mark.filterwarnings("ignore:Please use quant_min")
def test_other_settings_of_an_observer_are_no_match() -> None:
    shared, runs = SharedRanges(), list[int]()
    for reduce_range in (False, True, True):
        shared.observe(Prepared(reduce_range=reduce_range), lambda: runs.append(1))
    assert len(runs) == 2


def test_what_a_run_changes_elsewhere_or_warns_of_is_not_kept() -> None:
    shared, runs = SharedRanges(), list[int]()
    for _ in range(2):
        model = Prepared()

        def counting(model: Any = model) -> None:
            runs.append(1)
            model.calls += 1

        shared.observe(model, counting)
    assert len(runs) == 2
    for _ in range(2):
        with pytest.warns(UserWarning, match="careful"):
            shared.observe(Prepared(), lambda: warnings.warn("careful", stacklevel=1))
