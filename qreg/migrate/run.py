"""`qreg migrate`: runs deprecated methods and successors interleaved, and judges them in pairs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from qreg.checks.operators import layers_work
from qreg.checks.score import score_change
from qreg.data import inputs
from qreg.diagnosis.run import raised_failure
from qreg.measure.comparison import CaseRuns, Run, latencies, run_cases, summarize
from qreg.measure.options import Options
from qreg.measure.subject import operators_of
from qreg.metrics.agreement import agreement
from qreg.metrics.layers import layer_numerics
from qreg.migrate.records import Candidate, Fate, Migration, Replacement
from qreg.migrate.rule import (
    detectable_change,
    judge_replacement,
    judge_score_change,
    moved_layer,
    pair_level,
)
from qreg.migrate.snippet import call, snippet
from qreg.quantization import METHODS, get_method, successors
from qreg.quantization.engines import engines_for, use_engine
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement
from qreg.records.method import Need
from qreg.records.numerics import Layer
from qreg.records.verdict import ScoreChange
from qreg.tasks import whole_set_summary

# Samples for comparing layers: few suffice, because the ranges are stored already.
_LAYER_IMAGES = 4
MethodPair = tuple[Case, Case]


@dataclass(frozen=True, eq=False)
class _Measured:
    """A candidate with its run and its layers."""

    candidate: Candidate
    run: Run
    layers: tuple[Layer, ...]


def successor_pairs(
    home: Case,
    methods: Sequence[str],
    engines: Sequence[str],
    *,
    compiled: bool = False,
    onnxruntime: bool = False,
) -> tuple[MethodPair, ...]:
    """Each deprecated method on each engine, with each of its successors.

    Args:
        home: a case of the dataset and the model.
        compiled: include the successors that use `torch.compile`.
        onnxruntime: include the successors that onnxruntime runs.
    """
    chosen = [
        (old, new.name)
        for old in methods
        for new in successors(old)
        if (compiled or not new.compiled) and (onnxruntime or Need.ONNXRUNTIME not in new.requires)
    ]
    return tuple(
        (_with(home, old, engine), _with(home, new, _engine_of(new, engine)))
        for engine in engines
        for old, new in chosen
    )


def migrate(home: Case, pairs: Sequence[MethodPair], options: Options) -> Migration:
    """Measure all cases interleaved, and judge each successor by its deprecated method.

    Args:
        home: the fp32 case of their dataset and model.

    Raises:
        QregError: what concerns all cases; see `qreg.measure.comparison.measure`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of building the cases are recorded
        return _migration(home, pairs, options)


def _migration(home: Case, pairs: Sequence[MethodPair], options: Options) -> Migration:
    cases = tuple(dict.fromkeys((home, *(case for pair in pairs for case in pair))))
    seen = run_cases(cases, options)
    found = zip(seen.runs, summarize(seen), strict=True)
    made = {case: _made(*one, seen) for case, one in zip(cases, found, strict=True)}
    both = sum(all(isinstance(made[case], _Measured) for case in pair) for pair in pairs)
    level = pair_level(max(both, 1))
    return Migration(
        candidates=tuple(one.candidate for one in made.values() if isinstance(one, _Measured)),
        failures=tuple(one for one in made.values() if isinstance(one, Failure)),
        replacements=tuple(_replacement(pair, made, seen, level=level) for pair in pairs),
    )


def _engine_of(method: str, engine: str) -> str:
    return engines_for(METHODS.info(method), (engine,))[0]


def _with(home: Case, method: str, engine: str) -> Case:
    return Case(home.dataset, home.model, method, engine)


def _made(
    run: Run | Failure, measured: Measurement | Failure, runs: CaseRuns
) -> _Measured | Failure:
    if isinstance(run, Failure) or isinstance(measured, Failure):
        assert isinstance(run, Failure)  # what was run is summarized
        return run
    try:
        return _described(run, measured, runs)
    except Exception as error:
        return raised_failure(measured.case, error)


@torch.no_grad()
def _described(run: Run, measured: Measurement, runs: CaseRuns) -> _Measured:
    """Count operators and describe layers, after all times are taken."""
    first = runs.test.first(_LAYER_IMAGES).inputs
    subject = run.subject
    with use_engine(subject.case.engine):
        operators = operators_of(subject, inputs.head(first, 1))
        layers = layer_numerics(subject.run, subject.model, subject.source, first)
    return _Measured(Candidate(measured, layers_work(operators, layers)), run, layers)


def _replacement(
    pair: MethodPair, measured: dict[Case, _Measured | Failure], runs: CaseRuns, *, level: float
) -> Replacement:
    deprecated, successor = (measured[case] for case in pair)
    for one in (successor, deprecated):
        if isinstance(one, Failure):
            return _missing(pair, one)
    assert isinstance(deprecated, _Measured)
    assert isinstance(successor, _Measured)
    return _judged(pair, deprecated, successor, runs, level=level)


def _missing(pair: MethodPair, failure: Failure) -> Replacement:
    old, new = pair
    of_old = f"{old.method} itself: " if failure.case == old else ""
    hint = f" ({failure.hint})" if failure.hint else ""
    fate = Fate.UNAVAILABLE if failure.unavailable else Fate.FAILED
    return Replacement(new, old, fate, f"{of_old}{failure.text}{hint}", *_code(pair))


def _judged(
    pair: MethodPair, deprecated: _Measured, successor: _Measured, runs: CaseRuns, *, level: float
) -> Replacement:
    old, new = pair
    work, same = (
        successor.candidate.work,
        successor.run.observation.digest == deprecated.run.observation.digest,
    )
    threads = successor.candidate.measurement.environment.threads
    found: dict[str, Any] = {
        "level": level,
        "latencies": latencies(successor.run, deprecated.run, threads),
        "moved": moved_layer(successor.layers, deprecated.layers),
    }
    if successor.run.observation.labels is None:
        score = _score_change(successor.run, deprecated.run, level=level)
        fate = judge_score_change(score, work, same_bits=same, level=level)
        found |= {"score": score, "detectable": score.detectable}
    else:
        change = agreement(
            successor.run.predictions,
            deprecated.run.predictions,
            successor.run.observation.labels,
            successor.run.observation.index,
            name=old.method,
        )
        fate = judge_replacement(change, work, same_bits=same, level=level)
        detectable = detectable_change(change, len(runs.test), level=level)
        found |= {"beside": change, "detectable": detectable}
    reason = "" if work.quantized else "no layer computes on quantized or dequantized values"
    return Replacement(new, old, fate, reason, *_code(pair), **found)


def _score_change(successor: Run, deprecated: Run, *, level: float) -> ScoreChange:
    """Of a task other than classification; a two-sided test at `level`."""
    new, old = successor.observation.score, deprecated.observation.score
    assert new is not None
    assert old is not None
    return score_change(new, old, alpha=level / 2, summarize=whole_set_summary(new))


def _code(pair: MethodPair) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    """The old code, the new code, and the calls of both codes' functions."""
    recipes = [get_method(case.method).recipe for case in pair]
    old, new = (snippet(recipe) for recipe in recipes)
    calls, new_calls = (tuple(map(call, recipe)) for recipe in recipes)
    return old, new, calls, new_calls
