"""`qreg sensitivity`: quantizes each site alone, and all but it, in the simulation of a case."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch

from qreg.data.samples import Batch
from qreg.measure.options import Options
from qreg.models.stubs import Stubbed
from qreg.quantization.engines import use_engine
from qreg.records.case import Case
from qreg.records.numerics import EQUAL_DB
from qreg.sensitivity.measuring import Prepared, Sites, SiteScores, interleaved
from qreg.sensitivity.measuring import prepared as prepare_case
from qreg.sensitivity.records import Fidelity, Sensitivity, Site, SiteEffect, SitePart
from qreg.sensitivity.rule import (
    LEVEL,
    noise_shares,
    ranking,
    score_effect,
    that_matter,
    ties,
)
from qreg.sensitivity.timing import saved_milliseconds
from qreg.stats.holm import holm

#: Samples on which all sites are screened.
SCREENED = 64


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        everything: measure every site in full, not only those that matter.
        seconds: a time limit, beginning when the case has been built; 0 for none.
    """

    everything: bool = False
    seconds: float = 0.0


_USUAL = Extent()


@dataclass(eq=False)
class Measured:
    """The scores of a case's sites.

    Attributes:
        errors: squared error of each screened site's outputs by its position.
        full: positions of the sites measured in full.
        samples: on which they were.
        stopped: what was not measured.
        row_bytes: of a sample's outputs.
    """

    scores: SiteScores
    errors: dict[int, float] = field(default_factory=dict)
    signal: float = 0.0
    full: tuple[int, ...] = ()
    samples: int = 0
    screened: int = 0
    stopped: list[str] = field(default_factory=list)
    row_bytes: int = 0


def measure_sensitivity(
    case: Case, options: Options, extent: Extent = _USUAL, fully: Fully | None = None
) -> Sensitivity:
    """Measure what each site of a case costs.

    Args:
        fully: measures the sites that matter on all samples; None for this process.

    Raises:
        QregError: the case cannot be built, or has no sites.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of building the case are recorded elsewhere
        found = prepare_case(case, options)
        start = time.monotonic()
        measured = measure_sites(found, options, extent, fully)
        saved = saved_milliseconds(found)
    return _record(found, measured, saved, seconds=time.monotonic() - start)


#: Measures the chosen sites of a case on all samples.
Fully = Callable[[Prepared, Measured], None]


@torch.no_grad()
def measure_sites(
    ready: Prepared, options: Options, extent: Extent, fully: Fully | None = None
) -> Measured:
    """Screen all sites on few samples, then measure those that matter on all.

    Args:
        fully: as of `measure_sensitivity`.
    """
    end = time.monotonic() + extent.seconds if extent.seconds else math.inf
    measured = Measured(SiteScores(ready.dataset))
    with use_engine(ready.case.engine):
        _screen(ready, measured, options, end)
        screened = sorted(measured.errors)
        shares = noise_shares([measured.errors[one] for one in screened])
        chosen = range(len(screened)) if extent.everything else that_matter(shares)
        measured.full = tuple(screened[one] for one in chosen)
        if fully is not None:
            fully(ready, measured)
        else:
            _measure_fully(ready, measured, options, end)
    ready.simulation.set(())
    return measured


def _screen(ready: Prepared, measured: Measured, options: Options, end: float) -> None:
    """Each site alone, on the first of the interleaved batches."""
    size, missed = ready.runs.batch, set[int]()
    scores = SiteScores(ready.dataset)
    count = -(-min(SCREENED, len(ready.test)) // size)
    for batch in islice(interleaved(ready.test, size), count):
        reference = ready.runs.base(batch.inputs, ())
        scores.add((Sites.NONE, 0), reference, batch, reference)
        measured.screened += len(batch)
        for site in range(ready.sites):
            if time.monotonic() > end and site:
                missed.add(site)
            if site in missed:
                continue
            scores.add((Sites.ONLY, site), ready.runs.switched([site]), batch, reference)
            options.progress(site + 1, ready.sites, "screening sites")
    measured.row_bytes = 4 * scores.result((Sites.NONE, 0)).rows.shape[1]
    for site in sorted(set(range(ready.sites)) - missed):
        measured.errors[site], measured.signal = scores.error((Sites.ONLY, site), (Sites.NONE, 0))
    if missed:
        measured.stopped.append(f"{len(missed)} of {ready.sites} sites were not screened")


def _measure_fully(ready: Prepared, measured: Measured, options: Options, end: float) -> None:
    for batch in interleaved(ready.test, ready.runs.batch):
        if time.monotonic() > end and measured.samples:
            break
        measure_batch(ready, measured.scores, measured.full, batch)
        measured.samples += len(batch)
        options.progress(measured.samples, len(ready.test), "measuring sites")
    if measured.samples < len(ready.test):
        measured.stopped.append(f"{measured.samples} of {len(ready.test)} samples were measured")


def measure_batch(ready: Prepared, scores: SiteScores, sites: Sequence[int], batch: Batch) -> None:
    """Run a batch with none, with all, with only each and with all but each of the sites."""
    reference = ready.runs.base(batch.inputs, ())
    scores.add((Sites.NONE, 0), reference, batch, reference)
    for site in sites:
        scores.add((Sites.ONLY, site), ready.runs.switched([site]), batch, reference)
    everything = frozenset(range(ready.sites))
    scores.add((Sites.ALL, 0), ready.runs.base(batch.inputs, everything), batch, reference)
    for site in sites:
        scores.add((Sites.BUT, site), ready.runs.switched([site]), batch, reference)
    scores.add((Sites.REAL, 0), ready.subject.run(batch.inputs), batch, reference)


def _record(
    ready: Prepared, measured: Measured, saved: dict[str, float], *, seconds: float
) -> Sensitivity:
    scores, summarize = measured.scores, measured.scores.summarize
    plain, full, real = (scores.score((kind, 0)) for kind in (Sites.NONE, Sites.ALL, Sites.REAL))
    return Sensitivity(
        case=ready.case,
        summary=plain.summary,
        unit=plain.unit,
        higher_is_better=plain.higher_is_better,
        total=len(ready.test),
        measured=measured.samples,
        screened=measured.screened,
        level=LEVEL,
        float_value=plain.value,
        quantized_value=full.value,
        quantized=score_effect(full, plain, summarize),
        converted=score_effect(real, plain, summarize),
        converted_value=real.value,
        agreement=_fidelity(measured),
        effects=_effects(ready, measured, saved),
        shared=ready.runs.shared,
        seconds=seconds,
        stopped="; ".join(measured.stopped),
    )


def _fidelity(measured: Measured) -> Fidelity:
    scores = measured.scores
    error, signal = scores.error((Sites.ALL, 0), (Sites.REAL, 0))
    full, real = scores.score((Sites.ALL, 0)), scores.score((Sites.REAL, 0))
    same = None
    if full.predictions is not None and real.predictions is not None:
        same = sum(a == b for a, b in zip(full.predictions, real.predictions, strict=True))
    return Fidelity(decibels(signal, error), len(full.values), same)


def decibels(signal: float, error: float) -> float:
    """10 log10 of their ratio, `EQUAL_DB` where there is no error."""
    if error == 0:
        return EQUAL_DB
    if not math.isfinite(error) or signal == 0:
        return -EQUAL_DB
    return round(max(-EQUAL_DB, min(EQUAL_DB, 10 * math.log10(signal / error))), 4)


def _effects(
    ready: Prepared, measured: Measured, saved: dict[str, float]
) -> tuple[SiteEffect, ...]:
    scores, screened = measured.scores, sorted(measured.errors)
    summarize, base = (
        scores.summarize,
        {kind: scores.score((kind, 0)) for kind in (Sites.NONE, Sites.ALL)},
    )
    shares = noise_shares([measured.errors[one] for one in screened])
    only = {
        n: score_effect(scores.score((Sites.ONLY, n)), base[Sites.NONE], summarize)
        for n in measured.full
    }
    but = {
        n: score_effect(scores.score((Sites.BUT, n)), base[Sites.ALL], summarize)
        for n in measured.full
    }
    significant = dict(
        zip(only, holm([one.p_value for one in only.values()], alpha=LEVEL), strict=True)
    )
    drops = [only[n].drop if n in only else None for n in screened]
    order = [screened[position] for position in ranking(drops, shares)]
    tied, order = _grouped(order, scores, only, dict(zip(screened, shares, strict=True)))
    effects = []
    for rank, site in enumerate(order, start=1):
        place = ready.simulation.switches[site].site
        effects.append(
            SiteEffect(
                in_users_names(ready, place),
                rank,
                tied=rank <= len(tied) and tied[rank - 1],
                significant=significant.get(site, False),
                sqnr_db=decibels(measured.signal, measured.errors[site]),
                noise=shares[screened.index(site)],
                only=only.get(site),
                but=but.get(site),
                saved_ms=saved.get(place.layer) if place.part is SitePart.WEIGHT else None,
            )
        )
    rest = [n for n in range(ready.sites) if n not in measured.errors]
    unseen = (in_users_names(ready, ready.simulation.switches[n].site) for n in rest)
    return (*effects, *map(SiteEffect, unseen))


def in_users_names(ready: Prepared, site: Site) -> Site:
    """The site, its layer called as in the user's model, without qreg's stubs around it."""
    if not isinstance(ready.subject.source, Stubbed):
        return site
    return replace(site, layer=site.layer.removeprefix("model."))


def _grouped(
    order: list[int], scores: SiteScores, full: Collection[int], shares: dict[int, float]
) -> tuple[list[bool], list[int]]:
    """Which sites are tied, and the order: within a group of ties, by noise."""
    measured = [site for site in order if site in full]
    tied = ties([scores.score((Sites.ONLY, site)) for site in measured], scores.summarize)
    groups: list[list[int]] = []
    for site, with_leader in zip(measured, tied, strict=True):
        if with_leader:
            groups[-1].append(site)
        else:
            groups.append([site])
    found = [sorted(group, key=lambda site: -shares[site]) for group in groups]
    flags = [bool(place) for group in found for place in range(len(group))]
    ordered = [site for group in found for site in group]
    return flags, ordered + [site for site in order if site not in full]
