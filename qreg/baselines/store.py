"""The only reader and writer of baselines: one JSON file per case, with arrays in sidecars.

``ROOT/<dataset>/<model>/<method>@<engine>.json`` and ``ROOT/<dataset>/sidecars/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qreg.baselines.applicable import same_environment
from qreg.baselines.decoding import decode_baseline, decode_file
from qreg.baselines.encoding import Encoded, encode, encode_promise, file_text
from qreg.baselines.folder import SIDECARS, case_file, writing
from qreg.baselines.layout import layout
from qreg.baselines.reading import MOST_BYTES, BaselineReader
from qreg.baselines.sidecar import decode_images
from qreg.errors import ChangedMeanwhileError, QregError
from qreg.files import read_regular, write_atomically
from qreg.records.baseline import Baseline, Promise
from qreg.records.case import Case, Environment
from qreg.records.decode import MismatchError


class Store:
    """The baselines under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reading = BaselineReader(root)

    def path(self, case: Case) -> Path:
        """The file of a case.

        Raises:
            QregError: a name of the case cannot be part of a file's name.
        """
        return self.root / case_file(case)

    def cases(self) -> tuple[Case, ...]:
        """The cases that have a file, sorted; sidecars are not read.

        Raises:
            CorruptFileError: a file is invalid.
        """
        return tuple(sorted(self._reading.head(name).case for _, name in self._files()))

    def read(self, case: Case) -> tuple[Baseline, ...]:
        """The baselines of a case, one for each environment; empty where it has no file.

        Raises:
            CorruptFileError: the file or a sidecar is invalid; it is left unchanged.
        """
        path = self.path(case)
        return self._reading.baselines(path, case) if path.exists() else ()

    def promises(self, case: Case) -> tuple[Promise, ...]:
        """The promises of a case, one for each environment; empty where it has none.

        Raises:
            CorruptFileError: the file is invalid; it is left unchanged.
        """
        path = self.path(case)
        return self._reading.promises(path, case) if path.exists() else ()

    def size(self, case: Case) -> int:
        """Bytes of a case's file, 0 without one: the more layers a network has, the longer."""
        try:
            return self.path(case).stat().st_size
        except OSError:
            return 0

    def digest(self, case: Case) -> str:
        """sha256 of a case's file, which names its sidecars by their content; "" without one."""
        path = self.path(case)
        if not path.exists():
            return ""
        return hashlib.sha256(read_regular(path, most=MOST_BYTES)).hexdigest()

    def text(self, case: Case) -> str:
        """The JSON of a case's file, without what is not ASCII.

        Raises:
            CorruptFileError: the file is invalid.
        """
        _, plain = self._reading.file(self.path(case), case)
        return layout(plain)

    def write(self, baseline: Baseline, *, follows: bool = False) -> None:
        """Store a baseline, replacing that of its environment.

        Args:
            follows: refuse to replace an approval that is not in the new one's history.

        Raises:
            ChangedMeanwhileError: it does not follow; nothing is written.
            CorruptFileError: the case's file is invalid; nothing is written.
            QregError: the folder cannot be written.
            ValueError: it would not be read back unchanged, for example a NaN size.
        """
        snapshot = baseline.snapshot
        path, encoded = self.path(snapshot.case), encode(baseline)
        _check_round_trip(baseline, encoded)
        with writing(self.root):
            if follows:
                self._check_follows(baseline)
            kept, promises = self._others(path, snapshot.case, "entries", snapshot.environment)
            for name, content in encoded.sidecars.items():
                _write_once(path.parent.parent / SIDECARS / name, content)
            text = file_text(snapshot.case, [*kept, encoded.entry], promises)
            write_atomically(path, text.encode())

    def _check_follows(self, baseline: Baseline) -> None:
        """Refuse to replace an approval that the new one does not know of."""
        snapshot = baseline.snapshot
        for one in self.read(snapshot.case):
            same = same_environment(one.snapshot.environment, snapshot.environment)
            if same and one.history != baseline.history[: len(one.history)]:
                raise ChangedMeanwhileError(
                    f"{snapshot.case} was approved by another process in the meantime",
                    hint=f"see what there is now: qreg baseline diff {snapshot.case}",
                )

    def write_promise(self, promise: Promise) -> None:
        """Store a promise, replacing that of its environment.

        Raises:
            CorruptFileError: the case's file is invalid; nothing is written.
            QregError: the folder cannot be written, or the case has no baseline.
        """
        path, entry = self.path(promise.case), encode_promise(promise)
        if not path.exists():
            raise QregError(
                f"no baseline of {promise.case}, so that nothing can be promised",
                hint="approve one first: qreg baseline update --reason TEXT --category create",
            )
        with writing(self.root):
            kept, entries = self._others(path, promise.case, "promises", promise.environment)
            write_atomically(path, file_text(promise.case, entries, [*kept, entry]).encode())

    def remove(self, case: Case) -> None:
        """Remove a case's file, if it exists; its sidecars become orphans."""
        with writing(self.root):
            self.path(case).unlink(missing_ok=True)

    def orphans(self) -> tuple[Path, ...]:
        """Unused sidecars, and temporary files of killed writers, sorted.

        Raises:
            CorruptFileError: a file is invalid, so that its sidecars are unknown.
        """
        needed = {
            (dataset, sidecar.file)
            for dataset, name in self._files()
            for one in self._reading.head(name).sidecars
            for sidecar in (one.arrays, one.images)
        }
        sidecars = self.root.glob(f"*/{SIDECARS}/*.safetensors")
        unused = {one for one in sidecars if (one.parent.parent.name, one.name) not in needed}
        halves = {*self.root.glob("*/*/.*.json.*"), *self.root.glob("*/*/.*.safetensors.*")}
        return tuple(sorted(unused | halves))

    def remove_orphans(self) -> tuple[Path, ...]:
        """Remove the orphans and return their paths."""
        with writing(self.root):
            found = self.orphans()
            for path in found:
                path.unlink()
        return found

    def _files(self) -> Iterator[tuple[str, str]]:
        """The folder of its dataset and the name from the root of each case's file."""
        # not `glob`, which takes a second for 10,000
        for dataset in _folders(f"{self.root}"):
            for model in _folders(f"{self.root}/{dataset}"):
                for name in sorted(os.listdir(f"{self.root}/{dataset}/{model}")):  # noqa: PTH208
                    if "@" in name and name.endswith(".json") and not name.startswith("."):
                        yield dataset, f"{dataset}/{model}/{name}"

    def _others(
        self, path: Path, case: Case, name: str, environment: Environment
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Plain entries (or promises) of other environments, and all promises (or entries)."""
        if not path.exists():
            return [], []
        file, plain = self._reading.file(path, case)
        records, entries = getattr(file, name), plain.get(name, [])
        kept = [
            entry
            for record, entry in zip(records, entries, strict=True)
            if not same_environment(record.environment, environment)
        ]
        return kept, plain.get("promises" if name == "entries" else "entries", [])


def _folders(folder: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return sorted(one.name for one in found if one.is_dir())
    return []


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that is named by its content, unless an undamaged one exists."""
    try:
        if read_regular(path, most=len(content)) == content:
            return
    except OSError:
        pass  # none, or another
    write_atomically(path, content)


def _check_round_trip(baseline: Baseline, encoded: Encoded) -> None:
    case = baseline.snapshot.case
    try:
        file, _ = decode_file(file_text(case, [encoded.entry]).encode())
        entry = file.entries[0]
        images = decode_images(encoded.sidecars[entry.sidecars.images.file])
        arrays = encoded.sidecars[entry.sidecars.arrays.file]
        found = decode_baseline(entry, case, arrays, images)
    except MismatchError as error:
        raise ValueError(f"{case} could not be read back: {error}") from error
    if found != baseline:
        raise ValueError(f"{case} would not be read back unchanged")
