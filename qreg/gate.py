"""The gate's line: from a case to what a baseline keeps of it."""

from __future__ import annotations

import io
import traceback
import warnings
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qreg.data import Dataset, Split, get_dataset
from qreg.data.batches import batches
from qreg.environment import capture_environment
from qreg.errors import QregError
from qreg.judgements import Snapshot
from qreg.measure import BATCH
from qreg.metrics.layers import float_twin, layer_numerics
from qreg.metrics.operators import count_operators
from qreg.metrics.size import model_size
from qreg.numerics import Images, Logits, Numerics
from qreg.prepare import Subject, prepare, reload
from qreg.quantization.engines import use_engine
from qreg.records import Case, Failure
from qreg.warned import plain_text
from qreg.workshop import Options, load_test, open_workshop

#: Canonical test indices that the gate looks at, and whose logits baselines keep.
GATE_IMAGES = 1000
# Images whose layers are looked at, which are held in memory; and images that are run alone.
_LAYER_IMAGES, _SINGLE_IMAGES = 16, 4


@dataclass(frozen=True, eq=False)
class _Bench:
    """A dataset made ready for all its cases."""

    dataset: Dataset
    test: Split
    options: Options

    @cached_property
    def images(self) -> Images:
        test = self.test
        return Images(
            index=tuple(test.index.tolist()),
            labels=tuple(test.labels.tolist()),
            digests=tuple(zlib.crc32(np.ascontiguousarray(image).data) for image in test.images),
        )

    @cached_property
    def kept(self) -> int:
        """How many of the images are the gate's."""
        return int(np.searchsorted(self.test.index, GATE_IMAGES)) or len(self.test.index)


class Gate:
    """Observes cases; keeps each dataset and each model's fp32 result for the next case.

    Args:
        full: the whole test set, not only the gate's images.
    """

    def __init__(self, options: Options, *, full: bool = False) -> None:
        self._options, self._full = options, full
        self._benches: dict[str, _Bench] = {}
        self._logits: dict[tuple[str, str], npt.NDArray[np.float32]] = {}

    def observe(self, case: Case) -> Snapshot | Failure:
        """Make a case, run it and describe it.

        Returns:
            What a baseline keeps of it; or a failure, where the case's own code raised or this
            machine lacks something.

        Raises:
            QregError: what concerns other cases too.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of making the case are recorded
            return self._observe(case)

    def _observe(self, case: Case) -> Snapshot | Failure:
        bench = self._bench(case.dataset)
        made = prepare(case, open_workshop(bench.dataset, bench.test, bench.options))
        if isinstance(made, Failure):
            return made
        try:
            with use_engine(case.engine):
                return self._snapshot(made, bench)
        except QregError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            return Failure(case, reason, "", unavailable=False, details=traceback.format_exc())

    def _bench(self, name: str) -> _Bench:
        if name not in self._benches:
            dataset = get_dataset(name)
            test = load_test(dataset, self._options)
            if not self._full:
                chosen = test.take(np.arange(GATE_IMAGES))
                test = chosen if len(chosen) else test.head(GATE_IMAGES)
            self._benches[name] = _Bench(dataset, test, self._options)
        return self._benches[name]

    def _snapshot(self, subject: Subject, bench: _Bench) -> Snapshot:
        logits = _run(subject, bench)
        predictions = logits.argmax(axis=1)
        return Snapshot(
            case=subject.case,
            environment=capture_environment(),
            checkpoint=subject.checkpoint,
            calibration=subject.calibration,
            correct=int((predictions == bench.test.labels).sum()),
            predictions=tuple(predictions.tolist()),
            size=model_size(subject.model),
            numerics=self._numerics(subject, bench, logits),
            warnings=tuple(sorted({plain_text(text) for text in subject.warnings})),
        )

    def _numerics(
        self, subject: Subject, bench: _Bench, logits: npt.NDArray[np.float32]
    ) -> Numerics:
        reference = self._reference(subject, bench, logits)
        moved = logits.argmax(axis=1) != reference.argmax(axis=1)
        first = next(batches(bench.test.head(_LAYER_IMAGES), bench.dataset, size=_LAYER_IMAGES))
        twin = float_twin(self._loaded(subject, bench), subject.model).eval()
        layers = layer_numerics(subject.run, subject.model, twin, first)
        operators = count_operators(subject.run, first[:1])
        single = _single(subject, first)
        return Numerics(
            images=bench.images,
            logits=_kept(logits, bench.kept),
            single=single,
            reloaded=_reloaded(subject, first),
            reference="" if subject.method.name == "fp32" else _kept(reference, bench.kept).digest,
            disagreements=tuple(bench.test.index[moved].tolist()),
            layers=layers,
            operators=operators,
        )

    def _loaded(self, subject: Subject, bench: _Bench) -> nn.Module:
        shop = open_workshop(bench.dataset, bench.test, bench.options)
        return reload(subject.case, shop)

    def _reference(
        self, subject: Subject, bench: _Bench, logits: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """fp32's logits of the same images, run once for all methods and engines."""
        case = subject.case
        if case.method == "fp32":
            return self._logits.setdefault((case.dataset, case.model), logits)
        if (case.dataset, case.model) not in self._logits:
            made = prepare(
                Case(case.dataset, case.model, "fp32", case.engine),
                open_workshop(bench.dataset, bench.test, bench.options),
            )
            if isinstance(made, Failure):
                raise QregError(f"{made.case}: {made.reason}", hint=made.hint)
            self._logits[case.dataset, case.model] = _run(made, bench)
        return self._logits[case.dataset, case.model]


@torch.no_grad()
def _run(subject: Subject, bench: _Bench) -> npt.NDArray[np.float32]:
    classes, done, outs = len(bench.dataset.classes), 0, []
    for images in batches(bench.test, bench.dataset, size=BATCH):
        bench.options.progress(done, len(bench.test), str(subject.case))
        outs.append(subject.run(images)[:, :classes].float().numpy())
        done += len(images)
    return np.concatenate(outs)


def _kept(logits: npt.NDArray[np.float32], count: int) -> Logits:
    values = np.ascontiguousarray(logits[:count], dtype="<f4")
    return Logits(count=len(values), classes=values.shape[1], values=values.tobytes())


@torch.no_grad()
def _single(subject: Subject, images: torch.Tensor) -> str:
    """Digest of the logits of the first images, each run alone."""
    outs = [subject.run(images[n : n + 1]).float().numpy() for n in range(_SINGLE_IMAGES)]
    return _kept(np.concatenate(outs), len(outs)).digest


def _reloaded(subject: Subject, images: torch.Tensor) -> str:
    """The same after the model has loaded its own saved state; "" where it cannot."""
    buffer = io.BytesIO()
    torch.save(subject.model.state_dict(), buffer)
    buffer.seek(0)
    try:
        subject.model.load_state_dict(torch.load(buffer, weights_only=True))
    except Exception:
        return ""
    return _single(subject, images)
