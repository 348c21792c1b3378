"""Samples that are read one by one on demand and joined by a collate function."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from qreg.data import inputs as ins
from qreg.data.samples import Batch, Rows, Samples
from qreg.errors import DataError, QregError

Item = tuple[Any, Any]
# Bytes of items that are kept for the next time they are asked for: the gate reads its samples
# once a case.
_KEPT_BYTES = 256 << 20
# Number of batches to read ahead.
_AHEAD = 2


@dataclass(eq=False)
class ItemStore:
    """Where items are read from, shared by all samples of a split.

    Attributes:
        read: the item at a position, ``(inputs, target)``.
        describe: the name of a position in messages.
        collate: joins items to ``(inputs, targets)``.
        digest: CRC-32 of the content at a position; None: of the item that was read.
        threads: number of items read concurrently; 1 where `read` is a user's code.
        notes: conversions of an unusual item.
        text: what the item at a position reads as, for reports.
        computed: whether code that is not qreg's computes the items.
    """

    read: Callable[[int], Item]
    describe: Callable[[int], str]
    collate: Callable[[list[Any]], Any] = default_collate
    digest: Callable[[int], int] | None = None
    threads: int = 1
    notes: dict[int, str] = field(default_factory=dict)
    text: Callable[[int], str] | None = None
    computed: bool = False
    _digests: dict[int, int] = field(default_factory=dict)
    _kept: dict[int, Item] = field(default_factory=dict)
    _bytes: int = 0
    _structure: Any = None
    # first and last sample and length of the batches whose order was checked
    _ordered: set[tuple[int, int, int]] = field(default_factory=set)

    def item(self, position: int) -> Item:
        """The item at a position.

        Raises:
            DataError: it cannot be read, or is not of the structure that the first one had.
        """
        if position in self._kept:
            return self._kept[position]
        try:
            found = self.read(position)
        except QregError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            raise DataError(
                f"{self.describe(position)} raised {type(error).__name__}: {text}",
                hint="every index from 0 to len - 1 must be readable",
            ) from error
        self._check(position, found)
        if position not in self._digests and self.digest is None:
            self._digests[position] = ins.digest(found)
        size = _bytes(found)
        if self._bytes + size <= _KEPT_BYTES:
            self._bytes += size
            self._kept[position] = found
        return found

    def digest_of(self, position: int) -> int:
        """CRC-32 of the content at a position."""
        if position not in self._digests:
            if self.digest is None:
                self.item(position)
            else:
                self._digests[position] = self.digest(position)
        return self._digests[position]

    def _check(self, position: int, found: Any) -> None:
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise DataError(
                f"{self.describe(position)} is {_structure(found)}",
                hint="an item is a pair (inputs, target); of several inputs a tuple or dict",
            )
        structure = _structure(found)
        if self._structure is None:
            self._structure = structure
        elif structure != self._structure:
            raise DataError(
                f"{self.describe(position)} is {structure}, others are {self._structure}",
                hint="all items must have the same structure and dtypes",
            )


@dataclass(frozen=True, eq=False)
class ItemSamples(Samples):
    """Samples of a store.

    Attributes:
        index: int64 (N,), canonical indices, ascending.
        positions: int64 (N,), where each is in the store.
        labels: int64 (N,), or None.
    """

    store: ItemStore
    index: Rows
    positions: Rows
    labels: Rows | None = None

    def rows(self, rows: Rows) -> ItemSamples:
        """The samples at these positions, ascending."""
        labels = None if self.labels is None else self.labels[rows]
        return ItemSamples(self.store, self.index[rows], self.positions[rows], labels)

    def text(self, row: int) -> str:
        """What the dataset's own `text` says of it."""
        text = self.store.text
        return "" if text is None else str(text(int(self.positions[row])))

    def read(self, rows: Rows) -> Batch:
        """The samples at these positions as one batch."""
        items = [self.store.item(int(position)) for position in self.positions[rows]]
        return self._batch(items, rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples, `size` at a time, in canonical order; the next ones are read ahead."""
        chunks = [
            np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size)
        ]
        if self.store.threads == 1:
            yield from map(self.read, chunks)
            return
        with ThreadPoolExecutor(self.store.threads) as pool:
            waiting: deque[tuple[Rows, list[Future[Item]]]] = deque()
            for chunk in chunks:
                found = [pool.submit(self.store.item, int(p)) for p in self.positions[chunk]]
                waiting.append((chunk, found))
                if len(waiting) > _AHEAD:
                    yield self._batch(*_arrived(waiting.popleft()))
            while waiting:
                yield self._batch(*_arrived(waiting.popleft()))

    def digests(self) -> tuple[int, ...]:
        """CRC-32 of each sample's content."""
        return tuple(self.store.digest_of(int(position)) for position in self.positions)

    @property
    def computed(self) -> bool:
        """Whether they are floats that code computes, and nothing tells what they are made of."""
        store = self.store
        known = not store.computed or store.digest is not None or not len(self)
        return not known and ins.has_floats(store.item(int(self.positions[0])))

    @property
    def notes(self) -> tuple[str, ...]:
        """Conversions of unusual items: "3 images: 16-bit grey scaled to 8"."""
        counted = Counter(self.store.notes.values())
        return tuple(f"{count} {what}" for what, count in sorted(counted.items()))

    def _batch(self, items: list[Item], rows: Rows) -> Batch:
        index = self.index[rows]
        given, targets = self._collated(items, index)
        found = ins.count(given)
        if found != len(items):
            raise DataError(
                f"the collate function made {found} samples of {len(items)} items",
                hint="it must keep them all, in their order",
            )
        ends = int(index[0]), int(index[-1]), len(items)
        if len(items) > 1 and ends not in self.store._ordered:
            self._check_order(items, given, targets, index)
            self.store._ordered.add(ends)
        return Batch(given, targets, index)

    def _collated(self, items: list[Item], index: Rows) -> tuple[ins.Inputs, Any]:
        try:
            found = self.store.collate(items)
        except QregError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise DataError(
                f"samples {index[0]} to {index[-1]} cannot be joined: "
                f"{type(error).__name__}: {text}",
                hint="give the dataset a method collate_fn(items) -> (inputs, targets)",
            ) from error
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise DataError(
                f"the collate function returned {_structure(found)}",
                hint="it must return a pair (inputs, targets)",
            )
        return ins.as_inputs(found[0]), found[1]

    def _check_order(self, items: list[Item], given: ins.Inputs, targets: Any, index: Rows) -> None:
        """Items must be the same alone as in the batch: of the first batch all, then its ends."""
        first = not self.store._ordered
        for row in range(len(items)) if first else (0, len(items) - 1):
            alone, target = self._collated([items[row]], index[[row]])
            moved = "" if _fits(alone, ins.cut(given, row, row + 1)) else "inputs"
            if not moved and not _same_target(target, targets, row, len(items)):
                moved = "targets"
            if moved:
                raise DataError(
                    f"the collate function gives sample {index[row]} other {moved}, or another "
                    f"place, in a batch of {len(items)} than alone",
                    hint="it must keep the items' order; padding at the end is fine",
                )


def _arrived(waiting: tuple[Rows, list[Future[Item]]]) -> tuple[list[Item], Rows]:
    chunk, found = waiting
    return [future.result() for future in found], chunk


def _fits(alone: ins.Inputs, batch: ins.Inputs) -> bool:
    """Whether both are the same, as far as the shorter of each dimension goes, from either end."""
    pairs = list(zip(ins.tensors(alone), ins.tensors(batch), strict=True))
    return all(_equal(*pair, last=False) or _equal(*pair, last=True) for pair in pairs)


def _same_target(alone: Any, batch: Any, row: int, count: int) -> bool:
    """Whether a target alone is that of a row of a batch, where both can be compared."""
    if isinstance(alone, torch.Tensor) and isinstance(batch, torch.Tensor):
        if not (alone.ndim and batch.ndim and len(alone) == 1 and len(batch) == count):
            return True
        return any(_equal(alone, batch[row : row + 1], last=last) for last in (False, True))
    if isinstance(alone, Mapping) and isinstance(batch, Mapping):
        return all(_same_target(alone[k], batch[k], row, count) for k in alone if k in batch)
    if isinstance(alone, (tuple, list)) and isinstance(batch, (tuple, list)):
        if len(alone) == 1 and len(batch) == count:
            return ins.digest(alone[0]) == ins.digest(batch[row])
        pairs = zip(alone, batch, strict=False)
        return all(_same_target(one, other, row, count) for one, other in pairs)
    return True


def _equal(one: torch.Tensor, other: torch.Tensor, *, last: bool) -> bool:
    if one.ndim != other.ndim or one.dtype != other.dtype:
        return False
    sizes = [min(a, b) for a, b in zip(one.shape, other.shape, strict=True)]
    cut = tuple(slice(-s, None) if last and s else slice(0, s) for s in sizes)
    a, b = one[cut], other[cut]
    if a.is_floating_point():
        return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    return torch.equal(a, b)


def _structure(value: Any) -> str:
    """Nesting and dtypes as text: ``({ids: int64, mask: bool}, int)``."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype).removeprefix("torch.")
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value.dtype.name)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_structure(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        kinds = [_structure(each) for each in value]
        if len(kinds) > 4 and len(set(kinds)) == 1:
            kinds = [kinds[0], "..."]
        return f"({', '.join(kinds)})"
    return type(value).__name__


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return sum(map(_bytes, value))
    return 64


def reading_threads() -> int:
    """The number of files decoded concurrently."""
    return min(8, os.cpu_count() or 1)
