"""Auditing a case for saturation on CPUs without VNNI."""

from __future__ import annotations

from collections.abc import Iterator

from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.saturation import audit_onnx
from qreg.data import Dataset, Samples
from qreg.data.inputs import Inputs
from qreg.errors import QregError, UnavailableError
from qreg.measure.options import Options, load_test
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.metrics.saturation import audit_saturation
from qreg.quantization.engines import use_engine
from qreg.records.case import Case
from qreg.records.measurement import LayerSaturation

# The batch size, which bounds memory. A dynamic layer's range is that of the batch.
_BATCH = 16


def audit_case(case: Case, options: Options) -> tuple[LayerSaturation, ...]:
    """Build a case and count the overflows in its layers on the first test samples.

    Raises:
        UnavailableError: this machine or this installation lacks what the case needs.
        QregError: code that is not qreg's raised, with its traceback; or what `prepare` raises.
    """
    dataset = options.dataset(case.dataset)
    test = load_test(dataset, options)
    subject = _prepared(case, dataset, test, options)
    with use_engine(case.engine):
        if isinstance(subject.model, OnnxModel):
            return audit_onnx(subject.model, _shown(test, options))
        return audit_saturation(subject.model, _shown(test, options), engine=case.engine)


def _prepared(case: Case, dataset: Dataset, test: Samples, options: Options) -> Subject:
    options.progress(0, 1, f"building {case.method}")
    made = prepare(case, case_setup(dataset, test, options))
    if isinstance(made, Subject):
        return made
    if made.unavailable:
        raise UnavailableError(f"{case}: {made.text}", hint=made.hint)
    raise QregError(f"{case}: {made.text}", hint=made.hint, details=made.details)


def _shown(test: Samples, options: Options) -> Iterator[Inputs]:
    done = 0
    for batch in test.batches(_BATCH):
        options.progress(done, len(test), "samples")
        yield batch.inputs
        done += len(batch)
