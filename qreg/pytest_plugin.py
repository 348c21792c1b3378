"""The pytest plugin: ``pytest -m regression`` judges every case of ``[tool.qreg]``.

Nothing here imports torch before a case is judged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qreg.errors import MissingDataError, QregError
from qreg.names import Names, output_file, positive
from qreg.processes.quiet import silence_kernels
from qreg.report.escape import visible

if TYPE_CHECKING:
    from qreg.gate.judge import Judge
    from qreg.gate.pool import JudgeRequest, Pool
    from qreg.gate.pytest_progress import Bar
    from qreg.processes.cluster import RayExecutor
    from qreg.records.budget import KnownFailure
    from qreg.records.case import Case
    from qreg.records.verdict import Verdict
    from qreg.report.location import Location
    from qreg.settings import Settings

_MARKER = "regression: judges quantized models against their baselines; see [tool.qreg]"
_PROPERTY, _KNOWN, _ENVIRONMENT = "qreg", "qreg-known", "qreg-environment"
_JUDGE = pytest.StashKey["Judge | Pool"]()
_EXECUTOR = pytest.StashKey["RayExecutor"]()
_BAR = pytest.StashKey["Bar | None"]()
_SETTINGS = pytest.StashKey["Settings | None"]()
_FILE = "pyproject.toml"
# Options that name a file which a run writes even if it judged nothing.
_WRITTEN = ("qreg_json", "qreg_report", "qreg_markdown", "qreg_code_quality", "qreg_record")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the regression gate."""
    group = parser.getgroup("qreg", "regression gate of quantized models (-m regression)")
    for kind in ("dataset", "model", "method", "engine"):
        group.addoption(
            f"--qreg-{kind}",
            f"--qreg-{kind}s",
            action=Names,
            metavar="A,B,...",
            help=f"only these {kind}s; for engines also: all (default: [tool.qreg])",
        )
    group.addoption("--qreg-data-dir", type=Path, metavar="DIR", help="folder of cifar10")
    group.addoption("--qreg-baselines", type=Path, metavar="DIR", help="folder of baselines")
    group.addoption("--qreg-full", action="store_true", help="use the whole test set")
    group.addoption("--qreg-strict", action="store_true", help="fail on any outcome but PASS")
    group.addoption("--qreg-require-data", action="store_true", help="fail on a missing dataset")
    group.addoption("--qreg-threads", type=positive, default=1, metavar="N", help="(default: 1)")
    group.addoption(
        "--qreg-jobs",
        type=positive,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="number of judging processes (default: %(default)s)",
    )
    group.addoption(
        "--qreg-ray",
        metavar="ADDRESS",
        help="judge on a Ray cluster: its address, auto, or local (a cluster of this machine)",
    )
    group.addoption(
        "--qreg-each-environment",
        action="store_true",
        help="with --qreg-ray: judge each case on each kind of machine of the cluster",
    )
    group.addoption(
        "--qreg-timeout",
        type=positive,
        default=900,
        metavar="N",
        help="seconds that a case may take (default: %(default)s)",
    )
    group.addoption(
        "--qreg-json", type=output_file, metavar="FILE", help="write the verdicts as JSON"
    )
    group.addoption(
        "--qreg-report",
        type=_folder,
        metavar="DIR",
        help="write a page about every case that did not pass, as DIR/index.html",
    )
    group.addoption(
        "--qreg-cache",
        action="store_true",
        default=None,
        help="skip cases that passed and of which nothing has changed since (cache = true)",
    )
    group.addoption(
        "--no-qreg-cache",
        dest="qreg_cache",
        action="store_false",
        default=None,
        help="judge all cases, also with cache = true; --qreg-record and --qreg-report do so, too",
    )
    group.addoption(
        "--qreg-record",
        action="store_true",
        help="append each case's score, size and verdict to the history",
    )
    group.addoption(
        "--qreg-store",
        type=Path,
        metavar="FILE",
        help="the history (default: .qreg/history/nights.jsonl, next to pyproject.toml)",
    )
    group.addoption(
        "--qreg-markdown",
        type=output_file,
        metavar="FILE",
        help="write a summary for a pull request (GITHUB_STEP_SUMMARY gets it without this)",
    )
    group.addoption(
        "--qreg-code-quality",
        type=output_file,
        metavar="FILE",
        help="write GitLab's code quality report",
    )


def _folder(text: str) -> Path:
    return output_file(str(Path(text) / "index.html")).parent


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before any conftest.py runs, watch what it reads, where its cases may be skipped later.

    It may import PyTorch, which reads at once whether its kernels print: recorded baselines have
    no warnings that they would print.
    """
    known = early_config.known_args_namespace
    if "regression" in known.markexpr:
        silence_kernels()
    if "regression" in known.markexpr and known.qreg_cache is not False:
        from qreg.gate.unchanged import watch_files

        watch_files()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the summary in the process that prints it."""
    config.addinivalue_line("markers", _MARKER)
    # a run without cases is not to import for half a second what it does not use
    if _asks_for_cases(config) or any(config.getoption(one) for one in _WRITTEN):
        silence_kernels()
        _register_summary(config)


def _register_summary(config: pytest.Config) -> None:
    """Once, in the process that prints."""
    if hasattr(config, "workerinput") or config.pluginmanager.has_plugin("qreg-summary"):
        return
    from qreg.gate.pytest_summary import RunSummary

    summary = RunSummary(config, partial(_locate, config), not_judged(config))
    summary.store = partial(_store, config)
    config.pluginmanager.register(summary, "qreg-summary")


def _locate(config: pytest.Config, case: Case) -> Location:
    from qreg.report.location import case_location

    settings = _settings(config)
    assert settings is not None
    return case_location(case, settings)


def _store(config: pytest.Config) -> tuple[Path, Path] | None:
    """The file of the history and the project's folder, None where nothing is recorded."""
    from qreg.speed.history.store import store_path

    settings = _settings(config)
    if not config.option.qreg_record or settings is None:
        return None
    return store_path(config.option.qreg_store, settings.root), settings.root


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Let ``pytest -m regression pyproject.toml`` judge the cases and collect no test."""
    if file_path.name != _FILE or not _asks_for_cases(parent.config):
        return None
    return Cases.from_parent(parent, path=file_path, name=_FILE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases where ``-m`` asks for them and all of the project's tests are asked for."""
    if not _asks_for_cases(config):
        return
    _register_summary(config)  # where a conftest.py asks for cases
    if not_judged(config):
        return
    try:
        items += _items(session, config)
    except QregError as error:
        raise pytest.UsageError(visible(f"{error}\n  {error.hint}")) from error


def _asks_for_cases(config: pytest.Config) -> bool:
    """Whether ``-m`` selects exactly the tests marked regression."""
    text = config.option.markexpr
    if "regression" not in text:
        return False
    from _pytest.mark.expression import Expression

    def marked(name: str, /, **_: str | int | bool | None) -> bool:
        return name == "regression"

    try:
        return Expression.compile(text).evaluate(marked)
    except Exception:  # no expression: pytest says so itself, in its own words
        return False


def not_judged(config: pytest.Config) -> str:
    """Why ``-m regression`` judges no case: "" where it does, or was not asked to."""
    if not _asks_for_cases(config):
        return ""
    try:
        settings = _settings(config)
    except QregError:
        return ""  # said where cases are collected
    if settings is None:
        looked = ", ".join(map(str, _starts(config)))
        return (
            f"no table [tool.qreg] in a {_FILE} of {looked}, or above (a project without a gate "
            "turns this off by: -p no:qreg.pytest_plugin): the run fails"
        )
    narrow = [str(arg) for arg in _named(config) if not _wide(Path(arg), settings, config)]
    if narrow and len(narrow) == len(_named(config)):
        return f"only {', '.join(narrow)} was asked for; all cases: pytest -m regression"
    return ""


def _settings(config: pytest.Config) -> Settings | None:
    """The project's table: the deepest of those found from where pytest was started and looks."""
    from qreg.settings import find_settings

    if _SETTINGS not in config.stash:
        found = [one for start in _starts(config) if (one := find_settings(start))]
        config.stash[_SETTINGS] = max(found, key=lambda one: len(one.root.parts), default=None)
    return config.stash[_SETTINGS]


def _starts(config: pytest.Config) -> tuple[Path, ...]:
    """Folders from which the table is searched upwards."""
    named = (Path(arg) for arg in _named(config))
    folders = (path if path.is_dir() else path.parent for path in named)
    starts = (config.invocation_params.dir, config.rootpath, *folders)
    return tuple(dict.fromkeys(start.resolve() for start in starts))


def _named(config: pytest.Config) -> list[str]:
    """The absolute paths given on the command line."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return []
    paths = (str(arg).partition("::") for arg in config.args)
    started = config.invocation_params.dir
    return [str((started / path).resolve()) + colons + rest for path, colons, rest in paths]


def _wide(path: Path, settings: Settings, config: pytest.Config) -> bool:
    """Whether a path on the command line stands for all tests of the project."""
    if path == settings.root / _FILE or path in (settings.root, *settings.root.parents):
        return True
    roots = (config.rootpath.resolve(), settings.root)
    tests = {(root / one).resolve() for root in roots for one in config.getini("testpaths")}
    return path.is_dir() and (path in tests or path.parent in roots)


def _items(session: pytest.Session, config: pytest.Config) -> Iterator[pytest.Item]:
    from qreg.processes.memory import nothing_collected
    from qreg.selection import check_budget, select_cases

    settings = _settings(config)
    assert settings is not None
    check_budget(settings)
    parent = Cases.from_parent(session, name="qreg", nodeid="qreg", path=settings.root / _FILE)
    kinds = ("dataset", "model", "method", "engine")
    chosen = {f"{kind}s": config.getoption(f"qreg_{kind}") for kind in kinds}
    with nothing_collected():  # it imports PyTorch
        cases = select_cases(settings, **chosen)
    for kind in _environments(settings, config, cases):
        for case in cases:
            name = f"{case} [{kind}]" if kind else str(case)
            item = CaseItem.from_parent(
                parent, name=name, case=case, settings=settings, environment=kind
            )
            item.add_marker(pytest.mark.regression)
            if config.pluginmanager.hasplugin("xdist"):  # whose marker it is
                item.add_marker(pytest.mark.xdist_group(f"{case.dataset}/{case.model}"))
            yield item


def _environments(
    settings: Settings, config: pytest.Config, cases: Sequence[Case]
) -> tuple[str, ...]:
    """The kinds of machines on which each case is judged; "" for any.

    Raises:
        QregError: there is no cluster, or none of its machines can do the work.
    """
    if not config.option.qreg_each_environment:
        return ("",)
    if not config.option.qreg_ray:
        raise QregError(
            "--qreg-each-environment asks for a cluster of several kinds of machines",
            hint="add --qreg-ray ADDRESS",
        )
    from qreg.gate.clustered import gate_executor

    executor = gate_executor(_request(settings, config, 1), cases, config.option.qreg_ray)
    config.stash[_EXECUTOR] = executor
    return executor.kinds()


def _request(settings: Settings, config: pytest.Config, tests: int) -> JudgeRequest:
    from qreg.baselines.folder import baseline_root
    from qreg.gate.pool import JudgeRequest
    from qreg.measure.options import Options
    from qreg.stats.holm import family_alpha

    return JudgeRequest(
        settings=settings,
        baselines=baseline_root(config.option.qreg_baselines, own=settings.baselines),
        alpha=family_alpha(tests),
        options=Options(data_dir=config.option.qreg_data_dir, threads=config.option.qreg_threads),
        full=config.option.qreg_full,
        timeout=config.option.qreg_timeout,
        details=_details(config),
        cache=_cached(config, settings),
    )


def _start(settings: Settings, session: pytest.Session) -> Judge | Pool:
    from qreg.gate.pool import Pool, can_fork
    from qreg.gate.pytest_progress import progress_of

    config, cases = session.config, _cases(session)
    request = _request(settings, config, len(cases))
    if config.option.qreg_ray:
        return _on_cluster(request, session)
    if not can_fork(request.options.threads):
        return request.judge()
    # xdist's processes are enough, each with one that judges
    jobs = 1 if hasattr(config, "workerinput") else config.option.qreg_jobs
    bar = progress_of(config)
    config.stash[_BAR] = bar
    return Pool(request, cases, jobs=jobs, show=bar.show if bar else None)


def _on_cluster(request: JudgeRequest, session: pytest.Session) -> Pool:
    from qreg.gate.clustered import gate_executor
    from qreg.gate.pool import Pool
    from qreg.gate.pytest_progress import progress_of

    config = session.config
    if hasattr(config, "workerinput"):
        raise pytest.UsageError("--qreg-ray with pytest-xdist: leave out -n, or say -n 0")
    items = [item for item in session.items if isinstance(item, CaseItem)]
    cases = tuple(dict.fromkeys(item.case for item in items))
    executor: RayExecutor | None = config.stash.get(_EXECUTOR, None)
    try:
        executor = executor or gate_executor(request, cases, config.option.qreg_ray)
    except QregError as error:  # no case can be judged
        pytest.exit(visible(f"{error}\n  {error.hint}"), returncode=pytest.ExitCode.USAGE_ERROR)
    config.stash[_EXECUTOR] = executor
    bar = progress_of(config)
    config.stash[_BAR] = bar
    kinds = tuple(dict.fromkeys(item.environment for item in items))
    return Pool(request, cases, executor=executor, show=bar.show if bar else None, kinds=kinds)


def _cached(config: pytest.Config, settings: Settings) -> bool:
    """Whether cases may be skipped: not where a night is recorded, or a page says what was seen."""
    chosen = config.option.qreg_cache
    return (settings.cache if chosen is None else bool(chosen)) and not _details(config)


def _details(config: pytest.Config) -> bool:
    return config.option.qreg_report is not None or config.option.qreg_record


def _cases(session: pytest.Session) -> list[Case]:
    return [item.case for item in session.items if isinstance(item, CaseItem)]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Attach what the page shows to the report, which travels between xdist's processes.

    It is no user property: these are also written to JUnit's XML.
    """
    outcome = yield
    if isinstance(item, CaseItem) and item.detail:
        report = outcome.get_result()  # type: ignore[attr-defined]
        if report.when == "call":
            report.qreg_detail = item.detail


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the judging processes."""
    stash = session.config.stash
    for started in (stash.get(_JUDGE, None), stash.get(_EXECUTOR, None)):
        if started is not None and hasattr(started, "close"):
            started.close()


class Cases(pytest.Collector):
    """The node of the cases in pytest's tree."""

    obj = sys.modules[__name__]

    def collect(self) -> Iterable[pytest.Item]:
        return ()


class NotApprovedError(Exception):
    """A case whose verdict fails the run; `lines` are its report."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__(lines[0])
        self.lines = lines


def judge_case() -> None:
    """A stand-in for a case's test function, for conftest.py files and plugins that read one."""


@contextmanager
def _without_log_records() -> Iterator[None]:
    """Keep the thousands of records of PyTorch's tracers out of what pytest shows of a failure."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class CaseItem(pytest.Item):
    """One case: observed, judged, and reported.

    It has what hooks commonly read of a test function: `function`, `obj`, `module`, `cls`,
    `instance`, `originalname`, `fixturenames`, `funcargs`.
    """

    function = obj = staticmethod(judge_case)
    module = sys.modules[__name__]
    cls = instance = None

    def __init__(
        self, *, case: Case, settings: Settings, environment: str = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.case, self.settings, self.environment = case, settings, environment
        self.originalname = self.name
        self.fixturenames: list[str] = []
        self.funcargs: dict[str, object] = {}
        self.detail = ""

    def runtest(self) -> None:
        try:
            self._judge_and_report()
        finally:
            bar: Bar | None = self.config.stash.get(_BAR, None)
            if bar is not None:
                bar.clear()

    def _judge_and_report(self) -> None:
        from qreg.records.verdict import Outcome, Verdict

        # of an attempt before, where a plugin runs it again
        own = [one for one in self.user_properties if not one[0].startswith(_PROPERTY)]
        self.user_properties[:] = own
        try:
            with _without_log_records():
                verdict = self._judge().verdict(*self._asked)
        except MissingDataError as error:
            if self.config.option.qreg_require_data:
                raise NotApprovedError((visible(str(error)), visible(f"  {error.hint}"))) from error
            pytest.skip(visible(str(error)))
        if not isinstance(verdict, Verdict):
            pytest.skip(visible(f"unavailable: {verdict.reason}"))
        self._collect()
        self._report(*self._excused(verdict))
        if verdict.outcome is Outcome.NO_BASELINE and not self.config.option.qreg_strict:
            pytest.skip("no baseline")

    def _collect(self) -> None:
        """What the page shows of it, for `pytest_runtest_makereport`."""
        from qreg.records.decode import plain

        if _details(self.config):
            self.detail = json.dumps(plain(self._judge().detail(*self._asked)))

    def _excused(self, verdict: Verdict) -> tuple[Verdict, KnownFailure | None]:
        """The verdict in the light of known failures, and the one that excuses it."""
        from qreg.budget.verdict import judge_known, known_failure

        known = known_failure(self.case, self.settings.known_failures)
        if known is None:
            return verdict, None
        today = datetime.now(timezone.utc).date().isoformat()
        verdict, excused = judge_known(verdict, known, today=today)
        return verdict, known if excused else None

    def _report(self, verdict: Verdict, known: KnownFailure | None) -> None:
        from qreg.gate.report import junit_properties, verdict_lines
        from qreg.records.decode import plain
        from qreg.records.verdict import Outcome

        self.user_properties.append((_PROPERTY, json.dumps(plain(verdict))))
        if self.environment:
            self.user_properties.append((_ENVIRONMENT, self.environment))
        self.user_properties += junit_properties(verdict)
        strict = self.config.option.qreg_strict and verdict.outcome is not Outcome.PASS
        if not (verdict.outcome.fails or strict):
            return
        if known is not None:
            self.user_properties.append((_KNOWN, json.dumps(plain(known))))
            pytest.xfail(visible(f"known failure until {known.expires}: {known.reason}"))
        verbose = self.config.get_verbosity() >= 2
        raise NotApprovedError(verdict_lines(verdict, traceback=verbose))

    @property
    def _asked(self) -> tuple[Any, ...]:
        return (self.case, self.environment) if self.environment else (self.case,)

    def _judge(self) -> Judge | Pool:
        stash = self.config.stash
        if _JUDGE not in stash:
            stash[_JUDGE] = _start(self.settings, self.session)
        return stash[_JUDGE]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotApprovedError):
            return "\n".join(excinfo.value.lines)
        if isinstance(excinfo.value, QregError):
            return visible(f"{excinfo.value}\n  {excinfo.value.hint}")
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, str(self.case)
