"""The pytest plugin: ``pytest -m regression`` judges every case of ``[tool.qreg]``.

Nothing here imports torch before a case is judged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qreg.errors import MissingDataError, QregError
from qreg.names import Names, positive

if TYPE_CHECKING:
    from qreg.gate.judge import Judge
    from qreg.gate.pool import Pool
    from qreg.records.case import Case
    from qreg.records.verdict import Verdict
    from qreg.settings import Settings

_MARKERS = (
    "regression: judges quantized models against their baselines; see [tool.qreg]",
    "benchmark: tracks speed with pytest-benchmark",
    "upgrade: compares PyTorch versions",
    "slow: takes more than a few seconds",
)
_PROPERTY = "qreg"
_JUDGE = pytest.StashKey["Judge | Pool"]()
_FILE = "pyproject.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the regression gate."""
    group = parser.getgroup("qreg", "regression gate of quantized models (-m regression)")
    for kind in ("dataset", "model", "method", "engine"):
        group.addoption(
            f"--qreg-{kind}",
            f"--qreg-{kind}s",
            action=Names,
            metavar="A,B,...",
            help=f"only these {kind}s; for engines also: all (default: [tool.qreg])",
        )
    group.addoption("--qreg-data-dir", type=Path, metavar="DIR", help="where cifar10 is")
    group.addoption("--qreg-baselines", type=Path, metavar="DIR", help="where baselines are")
    group.addoption("--qreg-full", action="store_true", help="the whole test set")
    group.addoption("--qreg-strict", action="store_true", help="whatever is not PASS fails")
    group.addoption("--qreg-require-data", action="store_true", help="a missing dataset fails")
    group.addoption("--qreg-threads", type=positive, default=1, metavar="N", help="default: 1")
    group.addoption(
        "--qreg-jobs",
        type=positive,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that judge (default: %(default)s)",
    )
    group.addoption("--qreg-json", type=Path, metavar="FILE", help="write the verdicts")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the summary in the process that prints it."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if not hasattr(config, "workerinput"):
        from qreg.gate.pytest_summary import Summary

        config.pluginmanager.register(Summary(config), "qreg-summary")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases where ``-m`` speaks of regression and the whole project is asked for."""
    if "regression" not in config.option.markexpr or not _whole_project(config):
        return
    try:
        items += _items(session, config)
    except QregError as error:
        raise pytest.UsageError(f"{error}\n  {error.hint}") from error


def _whole_project(config: pytest.Config) -> bool:
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return True
    named = [Path(str(arg).partition("::")[0]).resolve() for arg in config.args]
    return any(path in (config.rootpath.resolve(), config.rootpath / _FILE) for path in named)


def _items(session: pytest.Session, config: pytest.Config) -> Iterator[pytest.Item]:
    from qreg.selection import select_cases
    from qreg.settings import read_settings

    settings = read_settings(config.rootpath / _FILE)
    if settings is None:
        return
    parent = Cases.from_parent(session, name="qreg", nodeid="qreg")
    kinds = ("dataset", "model", "method", "engine")
    chosen = {f"{kind}s": config.getoption(f"qreg_{kind}") for kind in kinds}
    for case in select_cases(settings, **chosen):
        item = CaseItem.from_parent(parent, name=str(case), case=case, settings=settings)
        item.add_marker(pytest.mark.regression)
        item.add_marker(pytest.mark.xdist_group(f"{case.dataset}/{case.model}"))
        yield item


def _start(settings: Settings, session: pytest.Session) -> Judge | Pool:
    from qreg.baselines.folder import baseline_root
    from qreg.gate.pool import JudgeRequest, Pool, can_fork
    from qreg.measure.options import Options
    from qreg.stats.holm import family_alpha

    config, cases = session.config, _cases(session)
    request = JudgeRequest(
        settings=settings,
        baselines=baseline_root(config.option.qreg_baselines, own=settings.baselines),
        alpha=family_alpha(len(cases)),
        options=Options(data_dir=config.option.qreg_data_dir, threads=config.option.qreg_threads),
        full=config.option.qreg_full,
    )
    jobs = config.option.qreg_jobs
    # xdist's processes are enough
    alone = jobs < 2 or hasattr(config, "workerinput") or not can_fork(request.options.threads)
    return request.judge() if alone else Pool(request, cases, jobs=jobs)


def _cases(session: pytest.Session) -> list[Case]:
    return [item.case for item in session.items if isinstance(item, CaseItem)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the processes that judge."""
    started = session.config.stash.get(_JUDGE, None)
    if started is not None and hasattr(started, "close"):
        started.close()


class Cases(pytest.Collector):
    """Where the cases stand in pytest's tree."""

    def collect(self) -> Iterable[pytest.Item]:
        return ()


class NotApprovedError(Exception):
    """A case whose verdict fails the run; `lines` say why."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__(lines[0])
        self.lines = lines


class CaseItem(pytest.Item):
    """One case: observed, judged, and reported."""

    def __init__(self, *, case: Case, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case, self.settings = case, settings

    def runtest(self) -> None:
        from qreg.records.verdict import Outcome, Verdict

        try:
            verdict = self._judge().verdict(self.case)
        except MissingDataError as error:
            if self.config.option.qreg_require_data:
                raise NotApprovedError((str(error), f"  {error.hint}")) from error
            pytest.skip(f"{error}")
        if not isinstance(verdict, Verdict):
            pytest.skip(f"unavailable: {verdict.reason}")
        self._report(verdict)
        if verdict.outcome is Outcome.NO_BASELINE and not self.config.option.qreg_strict:
            pytest.skip("no baseline")

    def _report(self, verdict: Verdict) -> None:
        from qreg.gate.report import verdict_lines, verdict_record
        from qreg.records.verdict import Outcome

        self.user_properties.append((_PROPERTY, json.dumps(verdict_record(verdict))))
        strict = self.config.option.qreg_strict and verdict.outcome is not Outcome.PASS
        if verdict.outcome.fails or strict:
            verbose = self.config.get_verbosity() >= 2
            raise NotApprovedError(verdict_lines(verdict, traceback=verbose))

    def _judge(self) -> Judge | Pool:
        stash = self.config.stash
        if _JUDGE not in stash:
            stash[_JUDGE] = _start(self.settings, self.session)
        return stash[_JUDGE]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotApprovedError):
            return "\n".join(excinfo.value.lines)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.config.rootpath / _FILE, None, str(self.case)
