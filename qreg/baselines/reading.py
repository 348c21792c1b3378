"""Reading baseline files and their sidecars; errors are reported, and files left unchanged."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from qreg.baselines.decoding import Head, decode_baseline, decode_file, decode_head, decode_promise
from qreg.baselines.folder import SIDECARS, case_file_name
from qreg.baselines.schema import FORMAT, File, Sidecar, StoredBaseline
from qreg.baselines.sidecar import decode_images
from qreg.errors import CorruptFileError, QregError
from qreg.files import read_regular, read_with_state
from qreg.records.baseline import Baseline, Promise
from qreg.records.case import Case
from qreg.records.decode import MismatchError
from qreg.records.numerics import Images

#: Bytes of a file: a hundred environments of a network of a thousand layers have a tenth of it.
MOST_BYTES = 1 << 24
# Of a sidecar: logits of 50,000 samples and 1,000 classes have 200 MB.
_MOST_ARRAYS = 1 << 28


class BaselineReader:
    """Reads below one folder; sample identities, which a dataset's cases share, are cached."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._heads: dict[str, tuple[tuple[int, ...], Head]] = {}
        self._images: dict[tuple[Path, str], Images] = {}
        self._last: tuple[Path, bytes, File] | None = None

    def file(self, path: Path, case: Case | None = None) -> tuple[File, dict[str, Any]]:
        """A file as a record and as plain JSON; it must be of `case` and at its path.

        Raises:
            CorruptFileError: it is invalid.
        """
        try:
            content = read_regular(path, most=MOST_BYTES)
            file, found = decode_file(content)
            if file.case != (case or file.case) or self._misplaced(path, file.case):
                raise MismatchError("the case that names the file", f"{file.case}", key="case")
        except (MismatchError, OSError) as error:
            raise self._corrupt(path, path, error, case) from error
        self._last = path, content, file
        return file, found

    def _record(self, path: Path, case: Case) -> File:
        """The file as a record; the one that was read last is not decoded twice."""
        if self._last and self._last[0] == path:
            with contextlib.suppress(OSError):
                if self._last[1] == read_regular(path, most=MOST_BYTES):
                    return self._last[2]
        return self.file(path, case)[0]

    def head(self, name: str) -> Head:
        """The head of a file of that name, from the root; its entries are not verified.

        Raises:
            CorruptFileError: it is invalid.
        """
        path = f"{self.root}/{name}"
        try:
            known = self._heads.get(name)
            if known is None or known[0] != _state(os.stat(path)):  # noqa: PTH116
                # as it is when it is opened: nothing is asked twice of ten thousand files
                content, found = read_with_state(path, most=MOST_BYTES)
                head = decode_head(content)
                if not _names(name, head.case):
                    raise MismatchError("the case that names the file", f"{head.case}", key="case")
                known = self._heads[name] = (_state(found), head)
        except (MismatchError, OSError) as error:
            raise self._corrupt(Path(path), Path(path), error, None) from error
        return known[1]

    def baselines(self, path: Path, case: Case) -> tuple[Baseline, ...]:
        """The baselines of a case's file.

        Raises:
            CorruptFileError: the file or a sidecar is invalid.
        """
        entries = self._record(path, case).entries
        return tuple(self._baseline(path, case, n, entry) for n, entry in enumerate(entries))

    def promises(self, path: Path, case: Case) -> tuple[Promise, ...]:
        """The promises of a case's file.

        Raises:
            CorruptFileError: the file is invalid.
        """
        entries = self._record(path, case).promises
        try:
            return tuple(decode_promise(entry, case) for entry in entries)
        except MismatchError as error:
            raise self._corrupt(path, path, error.within("promises"), case) from error

    def _misplaced(self, path: Path, case: Case) -> bool:
        return not _names(path.relative_to(self.root).as_posix(), case)

    def _baseline(self, path: Path, case: Case, number: int, entry: StoredBaseline) -> Baseline:
        images = self._shared_images(path, entry.sidecars.images, case)
        content = self._sidecar(path, entry.sidecars.arrays, case)
        try:
            return decode_baseline(entry, case, content, images)
        except MismatchError as error:
            raise self._corrupt(path, path, error.within(f"entries[{number}]"), case) from error

    def _shared_images(self, path: Path, sidecar: Sidecar, case: Case) -> Images:
        key = path.parent.parent / SIDECARS / sidecar.file, sidecar.sha256
        if key not in self._images:
            content = self._sidecar(path, sidecar, case)
            try:
                self._images[key] = decode_images(content)
            except MismatchError as error:
                raise self._corrupt(key[0], path, error, case) from error
        return self._images[key]

    def _sidecar(self, path: Path, sidecar: Sidecar, case: Case) -> bytes:
        at = path.parent.parent / SIDECARS / sidecar.file
        try:
            content = read_regular(at, most=_MOST_ARRAYS)
            found = hashlib.sha256(content).hexdigest()
            if found != sidecar.sha256:
                raise MismatchError(f"sha256 {sidecar.sha256}", f"sha256 {found}")
        except (MismatchError, OSError) as error:
            raise self._corrupt(at, path, error, case) from error
        return content

    def _corrupt(
        self, at: Path, path: Path, error: MismatchError | OSError, case: Case | None
    ) -> CorruptFileError:
        """The error for the file `at`, which occurred while reading the case at `path`."""
        name = case or path.relative_to(self.root).as_posix().removesuffix(".json")
        hint = (
            f"it is left unchanged: restore it with git, or remove {path} and approve again with: "
            f"qreg baseline update --reason TEXT {name}"
        )
        if isinstance(error, OSError):
            found = (error.strerror or str(error)).lower()
            return CorruptFileError(at, expected="a readable file", found=found, hint=hint)
        if error.key == "format":
            hint = f"upgrade qreg (this one reads format {FORMAT}); if it is damaged, {hint}"
        where = f"{at}: {error.key}" if error.key else at
        return CorruptFileError(where, expected=error.expected, found=error.found, hint=hint)


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _names(name: str, case: Case) -> bool:
    """Whether a file of that name, from the root, is the case's."""
    try:
        return case_file_name(case) == name
    except QregError:
        return False
