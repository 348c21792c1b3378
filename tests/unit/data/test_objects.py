"""Samples of a `torch.utils.data.Dataset`, good ones and bad ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from qreg.data import Samples, load_split
from qreg.data.objects import dataset_of_object
from qreg.errors import ContractError, DataError, MissingDataError


class Texts(TorchDataset[Any]):
    """Token ids of several lengths, padded by its own collate function."""

    def __init__(self, count: int = 7) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return {"ids": torch.arange(1, 2 + index % 4)}, index % 2

    def collate_fn(self, items: list[Any]) -> Any:
        ids = [given["ids"] for given, _ in items]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return {"ids": padded, "mask": padded > 0}, torch.tensor([target for _, target in items])


def _samples(items: Any, split: str = "test") -> Samples:
    return load_split(dataset_of_object("mine", items), split)  # type: ignore[arg-type]


def test_items_are_joined_by_the_datasets_own_collate_function() -> None:
    samples = _samples(Texts())
    batches = list(samples.batches(4))
    assert [len(b) for b in batches] == [4, 3]
    assert isinstance(batches[0].inputs, dict)
    assert batches[0].inputs["ids"].tolist() == [
        [1, 0, 0, 0],
        [1, 2, 0, 0],
        [1, 2, 3, 0],
        [1, 2, 3, 4],
    ]
    assert batches[1].targets.tolist() == [0, 1, 0]
    assert len(set(samples.digests())) == 4, "three of the seven are the same as others"


def test_default_collate_and_several_inputs() -> None:
    items = [((torch.full((2,), float(i)), torch.tensor(i)), float(i)) for i in range(5)]
    batch = _samples(items).first(3)
    assert isinstance(batch.inputs, tuple)
    assert [x.shape for x in batch.inputs] == [(3, 2), (3,)]
    assert batch.targets.tolist() == [0, 1, 2]


def test_splits_by_name_and_functions_that_make_them() -> None:
    def make() -> dict[str, Any]:
        return {"train": Texts(9), "test": Texts(5), "calibration": Texts(3)}

    lengths = {split: len(_samples(make, split)) for split in ("train", "test", "calibration")}
    assert lengths == {"train": 9, "test": 5, "calibration": 3}
    with pytest.raises(MissingDataError, match="no train split"):
        _samples(Texts(), "train")


def test_given_labels_are_known_before_anything_is_read() -> None:
    class Labelled(Texts):
        targets = (0, 1, 0, 1, 0, 1, 0)
        classes = ("even", "odd")

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("read")

    from qreg.data.objects import known_labels

    assert known_labels(Labelled()).tolist() == [0, 1, 0, 1, 0, 1, 0]  # type: ignore[union-attr]
    assert known_labels(Subset(Labelled(), [1, 2])).tolist() == [1, 0]  # type: ignore[union-attr]
    assert dataset_of_object("mine", Labelled()).classes == ("even", "odd")
    assert known_labels(Texts()) is None


def _raises(index: int) -> Any:
    if index == 3:
        raise OSError("disk on fire")
    return torch.zeros(2), 0


def _other_structure(index: int) -> Any:
    return (torch.zeros(2) if index != 3 else {"x": torch.zeros(2)}), 0


def _other_dtype(index: int) -> Any:
    return torch.zeros(2, dtype=torch.float64 if index == 3 else torch.float32), 0


def _short(index: int) -> Any:
    if index >= 3:
        raise IndexError(index)
    return torch.zeros(2), 0


def _sized(index: int) -> Any:
    return torch.zeros(2 + (index == 3)), 0


class Made(TorchDataset[Any]):
    """Five items by a function."""

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (_raises, "item 3 of 5 raised OSError: disk on fire"),
        (_other_structure, "item 3 of 5 is"),
        (_other_dtype, "item 3 of 5 is"),
        (_short, "item 3 of 5 raised IndexError"),
        (_sized, "cannot be joined"),
        (lambda i: torch.zeros(2), "item 0 of 5 is float32"),
        (lambda i: ("text", 0), "hold a"),
        (lambda i: (torch.rand(2), 0), "another one when it is read again"),
    ],
)
def test_bad_items_are_named_in_one_line(item: Callable[[int], Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        list(_samples(Made(item)).batches(5))
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_collate_function_that_reorders_is_refused() -> None:
    class Sorting(Texts):
        def collate_fn(self, items: list[Any]) -> Any:
            return super().collate_fn(sorted(items, key=lambda item: -len(item[0]["ids"])))

    with pytest.raises(DataError, match="place"):
        list(_samples(Sorting()).batches(4))


@pytest.mark.parametrize("kind", ["tensor", "list"])
def test_a_collate_function_that_moves_only_targets_or_inner_items_is_refused(kind: str) -> None:
    class Moving(Made):
        def collate_fn(self, items: list[Any]) -> Any:
            x, y = [a for a, _ in items], [b for _, b in items]
            y[1:-1] = y[1:-1][::-1]
            return torch.stack(x), torch.tensor(y) if kind == "tensor" else y

    with pytest.raises(DataError, match=r"sample 1 other targets.*batch of 5"):
        list(_samples(Moving(lambda i: (torch.full((2,), float(i)), i))).batches(5))


def test_a_collate_function_that_drops_is_refused() -> None:
    class Dropping(Texts):
        def collate_fn(self, items: list[Any]) -> Any:
            return super().collate_fn(items[:-1])

    with pytest.raises(DataError, match="made 3 samples of 4"):
        list(_samples(Dropping()).batches(4))


def test_rows_and_index() -> None:
    data = TensorDataset(torch.arange(10).float()[:, None], torch.arange(10))
    samples = _samples(data).take([7, 2, 30])
    assert samples.index.tolist() == [2, 7]
    assert samples.first(9).targets.tolist() == [2, 7]
    assert samples.read(np.array([1, 0])).targets.tolist() == [7, 2]


@pytest.mark.parametrize("found", [{"train": Texts()}, {}, iter(()), 5, {"test": iter(())}])
def test_what_is_no_dataset(found: Any) -> None:
    with pytest.raises(ContractError):
        dataset_of_object("mine", found)


class Described(Texts):
    """Says itself what the raw content of an item is."""

    def digest(self, index: int) -> Any:
        return (b"file 0", "file 1", 2)[index % 3]


def test_a_dataset_says_what_its_raw_content_is() -> None:
    found = _samples(Described()).digests()
    assert found[:3] == found[3:6]
    assert len(set(found)) == 3
    assert _samples(Subset(Described(), [4, 2])).digests() == (found[1], found[2])


class Floats(Described):
    def __getitem__(self, index: int) -> Any:
        return torch.full((2,), 0.1 * index), 0


class Whole(TorchDataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return {"ids": torch.tensor([index, 1])}, 0


class OnlyFloats(Whole):
    def __getitem__(self, index: int) -> Any:
        return {"ids": torch.tensor([index, 1]), "mask": torch.ones(2)}, 0


def test_what_is_only_known_as_computed_floats() -> None:
    found = [_samples(one).computed for one in (Floats(), Whole(), OnlyFloats())]
    assert found == [False, False, True]


def _fails(index: int) -> Any:
    raise OSError("gone")


@pytest.mark.parametrize(
    ("digest", "says"),
    [(_fails, r"digest\(0\) raised OSError: gone"), (lambda _: 0.5, r"digest\(0\) returned float")],
)
def test_a_digest_that_is_none(digest: Callable[[int], Any], says: str) -> None:
    items = Described()
    items.digest = digest  # type: ignore[method-assign]
    with pytest.raises(DataError, match=says):
        _samples(items).digests()
