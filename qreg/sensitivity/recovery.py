"""`qreg recover`: the fewest layers to leave in float, chosen on one half of the samples.

The simulation proposes, the real converted model disposes: what is reported of the chosen list is
measured with it, on the half that did not choose.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from qreg.data import Samples
from qreg.errors import ContractError, QregError
from qreg.measure.observation import Observer
from qreg.measure.options import Options
from qreg.measure.subject import Subject
from qreg.metrics.latency import time_interleaved
from qreg.metrics.size import model_size
from qreg.migrate.snippet import call, snippet
from qreg.models.stubs import Stubbed
from qreg.quantization import get_method
from qreg.quantization.engines import use_engine
from qreg.quantization.keeping import keeping_name
from qreg.records.budget import BudgetOutcome
from qreg.records.case import Case
from qreg.records.method import Form
from qreg.records.score import Score
from qreg.sensitivity.keeping import keepable_layers, quantized_sites, readers
from qreg.sensitivity.measuring import Prepared, Sites, SiteScores, as_score, built, interleaved
from qreg.sensitivity.measuring import prepared as prepare_case
from qreg.sensitivity.records import FrontPoint, OtherForm, Recovery, SitePart, Verified
from qreg.sensitivity.rule import Summarize, shortest, verified, worth_showing
from qreg.tasks import whole_set_summary

#: Samples on which the order of the layers is found.
SCREENED = 128
#: The form that is measured next to float32.
SIXTEEN_BITS = Form.BFLOAT16
#: Times that the real converted model may ask for one more layer.
_MORE = 3
#: Lists on the way to the chosen one that are shown.
_ON_THE_WAY = 4
# Batch-1 times: bursts of calls, each after untimed ones.
_ROUNDS, _CALLS, _WARM_UP = 5, 8, 2
Keep = tuple[str, ...]


@dataclass(eq=False)
class _Half:
    """One half of the samples, with the float model's outputs and score on it."""

    prepared: Prepared
    samples: Samples
    read: dict[int, frozenset[str] | None]
    max_drop: float
    form: Form = Form.FLOAT32
    reference: list[Any] = field(default_factory=list)
    _float: Score | None = None
    _simulated: dict[Keep, Score] = field(default_factory=dict)

    @property
    def plain(self) -> Score:
        """The score of the float model."""
        if self._float is None:
            self.prepared.simulation.set(())
            self._float = self.score(self._keeping_outputs)
        return self._float

    def _keeping_outputs(self, inputs: Any) -> Any:
        out = self.prepared.simulation.run(inputs)
        if Observer(self.prepared.dataset).needs_reference:
            self.reference.append(out)
        return out

    @torch.no_grad()
    def score(self, run: Callable[[Any], Any]) -> Score:
        """The score of whatever runs a batch."""
        observer = Observer(self.prepared.dataset)
        with use_engine(self.prepared.case.engine):
            for number, batch in enumerate(interleaved(self.samples, self.prepared.runs.batch)):
                out = run(batch.inputs)
                reference = self.reference[number] if number < len(self.reference) else out
                observer.add(out, batch, reference)
        return as_score(observer.result())

    def simulated(self, keep: Keep) -> Score:
        """The score of the simulation with these layers in float."""
        key = tuple(sorted(keep))
        if key not in self._simulated:
            _ = self.plain
            on = quantized_sites(self.prepared.simulation, self.read, keep)
            self.prepared.simulation.set(on)
            self._simulated[key] = self.score(self.prepared.simulation.run)
            self.prepared.simulation.set(())
        return self._simulated[key]

    def judged(self, score: Score) -> Verified:
        """Whether these samples show that the budget is kept."""
        return verified(score, self.plain, max_drop=self.max_drop, summarize=self.summarize)

    def of_model(self, subject: Subject) -> Verified:
        """The same of a real converted model."""
        _ = self.plain
        return self.judged(self.score(subject.run))

    @property
    def summarize(self) -> Summarize:
        """For a summary of the whole set."""
        return whole_set_summary(self._float)


def recover(
    case: Case, options: Options, max_drop: float, *, keep_as: Form = Form.FLOAT32
) -> Recovery:
    """Find the fewest layers to leave in float.

    Args:
        max_drop: of the summary, compared with the same weights in float: in points of a share,
            else in the summary's unit.
        keep_as: how the layers are kept.

    Raises:
        ContractError: the method can leave no layer in float, or none at 16 bits, or there are too
            few samples.
        QregError: the case cannot be built, or has no sites.
    """
    method = get_method(case.method)
    if method.keep is None:
        raise ContractError(
            f"method '{case.method}' can leave no layer in float",
            hint="name a registered method that quantizes: --method static",
        )
    if keep_as is not Form.FLOAT32 and method.exported:
        raise ContractError(
            f"the layers of method '{case.method}' are operators of an exported graph, and no "
            "modules that could run at 16 bits",
            hint=f"leave out --keep-as {keep_as.value}, or choose another method: --method static",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of building the case are recorded elsewhere
        found = prepare_case(case, options)
        if len(found.test) < 4:
            raise ContractError(
                f"{len(found.test)} samples cannot be halved",
                hint="give more test samples: --limit 1000",
            )
        return _recover(found, options, max_drop, keep_as)


def _recover(ready: Prepared, options: Options, max_drop: float, form: Form) -> Recovery:
    start = time.monotonic()
    read = readers(ready.simulation)
    rows = np.arange(len(ready.test))
    choosing, other = (
        _Half(ready, ready.test.rows(rows[first::2]), read, max_drop, form) for first in (0, 1)
    )
    if choosing.plain.unit == "%":
        choosing.max_drop = other.max_drop = max_drop / 100
    options.progress(0, 1, "ranking layers")
    order = layer_order(ready, choosing.samples, read)
    keep, enough = _chosen(choosing, order, options)
    options.progress(0, 1, "converting with layers in float")
    keep, subject, chosen = _confirmed(choosing, keep, order, enough)
    final = other.of_model(subject)
    before = other.of_model(ready.subject)
    within = enough(chosen)
    second = _in_other_form(other, keep)
    chosen_ones = [_Candidate("chosen", keep, subject, final.drop)] if keep else []
    if second:
        name = f"chosen, in {second[0].form.value}"
        chosen_ones.append(_Candidate(name, keep, second[1], second[0].verified.drop))
    return Recovery(
        case=ready.case,
        summary=other.plain.summary,
        unit=other.plain.unit,
        max_drop=other.max_drop,
        keep=_shown(ready, keep),
        method=keeping_name(ready.case.method, _shown(ready, keep), form),
        chosen=chosen,
        verified=final,
        before=before,
        fp32_value=other.plain.value,
        layers=len(keepable_layers(ready.simulation)),
        found=within,
        front=_front(other, chosen_ones, _Candidate("nothing", (), ready.subject, before.drop)),
        code=_code(subject, _shown(ready, keep), form) if keep else "",
        calls=tuple(map(call, subject.method.recipe)) if keep else (),
        seconds=time.monotonic() - start,
        form=form,
        other=second[0] if second else None,
    )


def _shown(ready: Prepared, keep: Keep) -> Keep:
    """Names as in the user's model, without the stubs that qreg put around it."""
    if not isinstance(ready.subject.source, Stubbed):
        return keep
    return tuple(layer.removeprefix("model.") for layer in keep)


@torch.no_grad()
def layer_order(ready: Prepared, samples: Samples, read: dict[int, frozenset[str] | None]) -> Keep:
    """The layers that can be left in float, those that the noisiest sites need first."""
    seen, keepable = SiteScores(ready.dataset), frozenset(keepable_layers(ready.simulation))
    left = SCREENED
    with use_engine(ready.case.engine):
        for batch in interleaved(samples, ready.runs.batch):
            reference = ready.runs.base(batch.inputs, ())
            seen.add((Sites.NONE, 0), reference, batch, reference)
            for site in range(ready.sites):
                seen.add((Sites.ONLY, site), ready.runs.switched([site]), batch, reference)
            left -= len(batch)
            if left <= 0:
                break
    errors = [seen.error((Sites.ONLY, site), (Sites.NONE, 0))[0] for site in range(ready.sites)]
    order: dict[str, None] = {}
    for site in sorted(range(ready.sites), key=lambda n: -_finite(errors[n])):
        order.update(dict.fromkeys(_needed(ready, read, site, keepable)))
    order.update(dict.fromkeys(keepable_layers(ready.simulation)))
    return tuple(order)


def _finite(error: float) -> float:
    return error if np.isfinite(error) else float("inf")


def _needed(
    ready: Prepared,
    read: dict[int, frozenset[str] | None],
    number: int,
    keepable: frozenset[str],
) -> Sequence[str]:
    """The layers to leave in float so that a site is; none where that is impossible."""
    switch = ready.simulation.switches[number]
    if switch.site.part is not SitePart.OUTPUT:
        return [switch.site.layer] if switch.site.layer in keepable else []
    by = read[number]
    if by is None:
        return []
    needed = [*([switch.site.layer] if switch.kernel else []), *sorted(by)]
    return needed if keepable.issuperset(needed) else []


def _chosen(half: _Half, order: Keep, options: Options) -> tuple[Keep, Callable[[Verified], bool]]:
    """The shortest list by the simulation, and what counts as enough.

    A list whose drop these samples show to be within the budget, or one whose drop is within it,
    where that is so much shorter that what the others add is against the noise of few samples.
    """
    tried = 0

    def shown(judged: Verified) -> bool:
        return judged.outcome is BudgetOutcome.KEPT

    def estimated(judged: Verified) -> bool:
        return judged.drop <= half.max_drop

    def within(keep: Keep, enough: Callable[[Verified], bool]) -> bool:
        nonlocal tried
        tried += 1
        options.progress(tried, tried + 1, "trying lists of layers")
        return enough(half.judged(half.simulated(keep)))

    short, _ = shortest(order, partial(within, enough=estimated))
    longer, found = shortest(order, partial(within, enough=shown))
    if found and len(longer) <= worth_showing(len(short)):
        return longer, shown
    return short, estimated


def _confirmed(
    half: _Half, keep: Keep, order: Keep, enough: Callable[[Verified], bool]
) -> tuple[Keep, Subject, Verified]:
    """The list that is enough for the real converted model on the same samples, too."""
    for _ in range(_MORE):
        subject = _converted(half.prepared, keep, half.form)
        judged = half.of_model(subject)
        more = next((layer for layer in order if layer not in keep), None)
        if enough(judged) or more is None:
            break
        keep = (*keep, more)
    else:
        subject = _converted(half.prepared, keep, half.form)
        judged = half.of_model(subject)
    return keep, subject, judged


def _converted(ready: Prepared, keep: Keep, form: Form) -> Subject:
    if not keep:
        return ready.subject
    method = keeping_name(ready.case.method, _shown(ready, keep), form)
    try:
        return built(replace(ready.case, method=method), ready.setup)
    except QregError as error:
        names = ", ".join(keep)
        raise QregError(f"with {names} in {form.value}: {error}", hint=error.hint) from error


def _in_other_form(half: _Half, keep: Keep) -> tuple[OtherForm, Subject] | None:
    """The list at 16 bits, or in float32 where 16 bits were asked for."""
    found = half.prepared
    if not keep or found.subject.method.exported:
        return None
    form = SIXTEEN_BITS if half.form is Form.FLOAT32 else Form.FLOAT32
    subject = _converted(found, keep, form)
    method = keeping_name(found.case.method, _shown(found, keep), form)
    return OtherForm(form, method, half.of_model(subject)), subject


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A real converted model on the front."""

    name: str
    keep: Keep
    subject: Subject
    drop: float


def _front(
    half: _Half, chosen: Sequence[_Candidate], nothing: _Candidate
) -> tuple[FrontPoint, ...]:
    """The float model, the chosen list and lists on the way to it, and the method itself."""
    found, keep = half.prepared, chosen[0].keep if chosen else ()
    plain, *times = _milliseconds(found, [*chosen, nothing])
    base = model_size(nothing.subject.model).file_bytes
    weights = {
        switch.site.layer: switch.site.saved_bytes
        for switch in found.simulation.switches
        if switch.site.part is SitePart.WEIGHT
    }
    whole = model_size(found.subject.source).file_bytes
    points = [FrontPoint("everything", (), 0.0, whole, plain, False)]
    for one, time_ms in zip(chosen, times, strict=False):
        size = model_size(one.subject.model).file_bytes
        points.append(FrontPoint(one.name, _shown(found, keep), one.drop, size, time_ms, False))
    steps = np.unique(np.linspace(1, len(keep) - 1, _ON_THE_WAY).astype(int)) if keep[1:] else ()
    for count in reversed([int(step) for step in steps]):
        part = keep[:count]
        drop = half.judged(half.simulated(part)).drop
        size = base + sum(weights.get(layer, 0) for layer in part)
        points.append(
            FrontPoint(_first_of(_shown(found, part)), _shown(found, part), drop, size, None, True)
        )
    points.append(FrontPoint(nothing.name, (), nothing.drop, base, times[-1], False))
    return tuple(points)


def _milliseconds(ready: Prepared, candidates: Sequence[_Candidate]) -> list[float]:
    """Milliseconds at batch 1, of the float model and of each candidate, interleaved."""
    one = ready.test.first(1).inputs
    ready.simulation.set(())
    runs = [ready.simulation.run, *(candidate.subject.run for candidate in candidates)]
    with torch.no_grad(), use_engine(ready.case.engine):
        times = time_interleaved(
            [lambda r=run: r(one) for run in runs],  # type: ignore[misc]
            rounds=_ROUNDS,
            calls=_CALLS,
            warm_up=_WARM_UP,
        )
    return [float(np.median(each)) * 1000 for each in times]


def _first_of(keep: Keep) -> str:
    names = ", ".join(keep[:3])
    return f"{names} and {len(keep) - 3} more" if keep[3:] else names


def _code(subject: Subject, keep: Keep, form: Form) -> str:
    """The functions, and the layers to call them with."""
    text = f"{snippet(subject.method.recipe)}\n\nlayers = {keep!r}\n"
    return text if form is Form.FLOAT32 else f"{text}dtype = torch.{form.value}\n"
