"""Remarks on a model from its observation; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy import special

from qreg.check.records import Attempt, AttemptOutcome, ObservedModel, Remark, RemarkLevel
from qreg.diagnosis.rule import that_work
from qreg.diagnosis.rule import untried as methods_to_try

#: Outputs of one sample in two batches differ by rounding only below this share of the largest
#: output: kernels choose other orders of summation for other batch sizes. A BatchNorm left in
#: training mode, or a mean over the batch, changes more than a thousandth.
NEIGHBOURS = 1e-3
#: Two tensors joined with scales further apart than this: one has less than 6 of 8 bits left.
SCALES_APART = 4.0
#: Below it, what is clipped or lost is less than the rounding of 8 bits.
SAME_SCALE = 1.01
#: An accuracy is above chance where it has less than this probability by guessing.
CHANCE_LEVEL = 0.01
_SHOWN = 4


_IN_TRAINING = "change it in training mode only: if self.training: ..."


def contract_remarks(observed: ObservedModel) -> tuple[Remark, ...]:
    """Remarks on the float model, the most severe first."""
    found = [*_broken(observed), *_warnings(observed), *_notes(observed)]
    return tuple(sorted(found, key=lambda remark: list(RemarkLevel).index(remark.level)))


def _broken(observed: ObservedModel) -> list[Remark]:
    found = []
    if observed.quantized:
        found.append(
            Remark(
                "quantized",
                RemarkLevel.BROKEN,
                f"the model is already quantized: {listed(observed.quantized)}",
                "give the float model; a quantized one is the output of a method",
                observed.quantized[0],
            )
        )
    if observed.shape:
        found.append(
            Remark(
                "samples first",
                RemarkLevel.BROKEN,
                f"the output of {observed.samples} samples has shape {observed.shape}: the samples "
                "are not its first dimension",
                "put them first: output.transpose(0, 1), or a factory that wraps the model so",
            )
        )
    elif observed.alone:
        found.append(
            Remark(
                "batch of one",
                RemarkLevel.BROKEN,
                f"a batch of one sample fails: {observed.alone}",
                "name the dimensions: x.flatten(1), not x.squeeze() or x.flatten()",
            )
        )
    if observed.not_finite is not None:
        found.append(
            Remark(
                "finite",
                RemarkLevel.BROKEN,
                f"{observed.not_finite or 'the model'} outputs NaN or infinity",
                "check that the weights are trained and loaded, and the inputs normalised",
                observed.not_finite,
            )
        )
    if observed.random is not None:
        first = f"two runs of the same batch differ, first in {observed.random or 'the model'}"
        cause = f": each run changes {listed(observed.written)}" if observed.written else ""
        randomness = "disable randomness in evaluation mode: functional.dropout(x, "
        found.append(
            Remark(
                "deterministic",
                RemarkLevel.BROKEN,
                f"{first}{cause}",
                _IN_TRAINING if cause else f"{randomness}training=self.training)",
                observed.random,
            )
        )
    if observed.misfit:
        fitting = (
            f"--task {observed.fitting[0]}" if observed.fitting else "see the docs, 'Your own task'"
        )
        others = (
            f" ({', '.join(observed.fitting[1:])} would do, too)" if observed.fitting[1:] else ""
        )
        found.append(
            Remark(
                "task",
                RemarkLevel.BROKEN,
                f"task '{observed.task}' cannot score the outputs: {observed.misfit}",
                observed.remedy or f"name the task: {fitting}{others}",
            )
        )
    if 0 < observed.outputs < observed.classes:
        found.append(
            Remark(
                "classes",
                RemarkLevel.BROKEN,
                f"{observed.outputs} outputs for {observed.classes} classes",
                f"give the model a head of {observed.classes} outputs",
            )
        )
    return found


def _warnings(observed: ObservedModel) -> list[Remark]:
    found = []
    if observed.random is None and observed.neighbours > NEIGHBOURS:
        found.append(
            Remark(
                "batch",
                RemarkLevel.WARNING,
                "a sample's output depends on other samples of its batch "
                f"({observed.neighbours:.1%} of the largest output)",
                "do not use batch statistics: eval(), track_running_stats=True",
            )
        )
    if observed.constant and observed.not_finite is None:
        found.append(
            Remark(
                "constant",
                RemarkLevel.WARNING,
                "the output does not depend on the input",
                "check that the weights are loaded and no activation is dead",
            )
        )
    if 0 < observed.classes < observed.outputs:
        found.append(
            Remark(
                "classes",
                RemarkLevel.WARNING,
                f"{observed.outputs} outputs for {observed.classes} classes: the first "
                f"{observed.classes} are taken to be the classes",
                f"give the model a head of {observed.classes} outputs, if they are not",
            )
        )
    if observed.total and not above_chance(observed.correct, observed.total, observed.chance):
        found.append(
            Remark(
                "accuracy",
                RemarkLevel.WARNING,
                f"{observed.correct} of {observed.total} samples are right, no better than "
                "guessing",
                "check that the weights are loaded and that the classes are in the same order",
            )
        )
    return found


def _notes(observed: ObservedModel) -> list[Remark]:
    found = []
    if observed.repeated:
        names = listed([f"{name} ({count} times)" for name, count in observed.repeated])
        found.append(
            Remark(
                "repeated layers",
                RemarkLevel.NOTE,
                f"run more than once: {names}",
                "eager methods share one range among all uses and fuse none: one module per use",
                observed.repeated[0][0],
            )
        )
    if observed.written and observed.random is None:
        found.append(
            Remark(
                "state",
                RemarkLevel.NOTE,
                f"each run changes {listed(observed.written)}, in evaluation mode, too; the "
                "output does not depend on it",
                _IN_TRAINING,
                observed.written[0],
            )
        )
    if observed.computed:
        found.append(
            Remark(
                "samples",
                RemarkLevel.NOTE,
                "the dataset computes its floats: another CPU rounds them differently, and the "
                "gate there calls the samples others",
                "give the dataset a method digest(index) of the raw item: bytes, text or a number",
            )
        )
    if observed.fx and not observed.export:
        found.append(
            Remark(
                "fx",
                RemarkLevel.NOTE,
                f"torch.export exports the model, torch.fx cannot trace it: {observed.fx}",
                "pt2e methods work, fx methods do not, eager ones do not fuse layers",
            )
        )
    if observed.export and not observed.fx:
        found.append(
            Remark(
                "export",
                RemarkLevel.NOTE,
                f"torch.fx traces the model, torch.export cannot export it: {observed.export}",
                "fx methods work, pt2e methods do not",
            )
        )
    return found


def above_chance(correct: int, total: int, chance: int) -> bool:
    """Whether this many right ones are unlikely by guessing, with probability `chance` each.

    The binomial tail, ``P(X >= correct)`` for ``X ~ Bin(total, chance / total)``, is below
    `CHANCE_LEVEL`.
    """
    share = min(max(chance, 1), total) / total
    if share == 1.0:
        return correct == total  # there is one class
    return correct > 0 and float(special.bdtrc(correct - 1, total, share)) < CHANCE_LEVEL


def mixed_scales(operator: str, scales: Sequence[float], *, where: str, own: bool) -> Remark | None:
    """A remark where quantized tensors of different scales meet; None if that is harmless.

    Args:
        own: the result has a scale of its own, from calibration; else it takes the first one's.
    """
    apart = max(scales) / min(scales) if scales and min(scales) > 0 else 1.0
    if apart < (SCALES_APART if own else SAME_SCALE):
        return None
    if own:
        text = f"{operator} joins tensors whose scales are {apart:.1f} times apart"
        advice = "the finer one loses precision: scale both to one range, or keep it in float"
        return Remark("scales", RemarkLevel.NOTE, text, advice, where)
    text = f"{operator} gives its result the first tensor's scale; another is {apart:.1f} times it"
    advice = f"values are clipped or coarse: use FloatFunctional().{operator}(...)"
    return Remark("scales", RemarkLevel.WARNING, text, advice, where)


def untried(attempts: Sequence[Attempt], others: Sequence[Attempt] = ()) -> tuple[str, ...]:
    """The methods to try next, because they would be advised for those that are blocked.

    Args:
        others: methods that were tried only because they are alternatives.
    """
    works = _works((*attempts, *others))
    blocked = [one for one in attempts if one.outcome is AttemptOutcome.BLOCKED]
    return tuple(dict.fromkeys(n for one in blocked for n in methods_to_try(one.instead, works)))


def with_what_works(
    attempts: Sequence[Attempt], others: Sequence[Attempt] = ()
) -> tuple[Attempt, ...]:
    """Each blocked method with those alternatives that work, if there are any.

    Args:
        others: methods that were tried only because they are alternatives.
    """
    works = _works((*attempts, *others))
    return tuple(_instead(one, works) for one in attempts)


def _works(attempts: Sequence[Attempt]) -> dict[str, bool]:
    return {one.method: one.outcome is AttemptOutcome.WORKS for one in attempts}


def _instead(one: Attempt, works: Mapping[str, bool]) -> Attempt:
    if one.outcome is not AttemptOutcome.BLOCKED:
        return one
    instead, known = that_work(one.instead, works)
    return replace(one, instead=instead, known=known)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
