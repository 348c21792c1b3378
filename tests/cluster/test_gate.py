"""The gate on a cluster: the same verdicts as here, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from qreg.gate.clustered import clustered_pool
from qreg.gate.pool import JudgeRequest, Pool
from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.records.decode import plain
from qreg.records.verdict import Outcome, Verdict
from qreg.selection import select_cases
from qreg.settings import find_settings
from tests.cluster.nodes import Nodes, nodes
from tests.cluster.processes import ROOT, typed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with nodes(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is as short as those of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="q") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def request_here() -> JudgeRequest:
    settings = find_settings(ROOT)
    assert settings is not None
    options = Options(threads=1, checkpoints=ROOT / "baselines" / "checkpoints")
    assert settings.baselines
    return JudgeRequest(settings, settings.baselines, alpha=0.001, options=options)


@pytest.fixture(scope="module")
def cases(request_here: JudgeRequest) -> tuple[Case, ...]:
    return select_cases(
        request_here.settings,
        datasets=["shapes10"],
        models=["linear_100", "simple_cnn"],
        methods=["fp32", "dynamic", "static-per-tensor"],
    )


def _verdicts(pool: Pool, cases: tuple[Case, ...]) -> list[object]:
    """All that is judged; a promise is measured, and no two measurements are equal."""
    found = []
    for case in cases:
        verdict = pool.verdict(case)
        assert isinstance(verdict, Verdict)
        found.append({k: v for k, v in plain(verdict).items() if k != "promise"})
    return found


def test_verdicts_are_those_of_this_machine_with_a_machine_lost_on_the_way(
    cluster: Nodes, request_here: JudgeRequest, cases: tuple[Case, ...]
) -> None:
    local = Pool(request_here, cases, jobs=2)
    try:
        expected = _verdicts(local, cases)
    finally:
        local.close()
    assert all(one["outcome"] == Outcome.PASS.value for one in expected)  # type: ignore[index]
    lost, _ = cluster.add(), cluster.add()
    pool = clustered_pool(request_here, cases, cluster.address)
    try:
        pool.verdict(cases[0])
        time.sleep(0.5)
        cluster.kill(lost)
        assert _verdicts(pool, cases[1:]) == expected[1:]
        assert _verdicts(pool, cases[:1]) == expected[:1]  # judged again
    finally:
        pool.close()


def test_pytest_judges_on_a_cluster_of_this_machine(tmp_path: Path, short: Path) -> None:
    words = ["-m", "regression", "-n0", "-p", "no:cacheprovider", "--qreg-ray", "local"]
    chosen = ["--qreg-dataset=shapes10", "--qreg-model=linear_100", "--qreg-methods=fp32,dynamic"]
    variables = {**os.environ, "QREG_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(short)}
    ran = typed(["-m", "pytest", *words, *chosen], variables=variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 cases: 2 PASS" in ran.stdout
    assert not list(short.iterdir()), "files are left"


def test_each_kind_of_machine_says_how_it_stands(cluster: Nodes, tmp_path: Path) -> None:
    limited = cluster.add(variables={"ATEN_CPU_CAPABILITY": "default"})
    usual = cluster.add()
    chosen = ["--qreg-dataset=shapes10", "--qreg-model=linear_100", "--qreg-methods=fp32,dynamic"]
    where = ["--qreg-ray", cluster.address, "--qreg-each-environment"]
    written = tmp_path / "verdicts.json"
    words = ["-m", "regression", "-n0", "-p", "no:cacheprovider", f"--qreg-json={written}"]
    try:
        ran = typed(["-m", "pytest", *words, *where, *chosen])
    finally:
        cluster.kill(limited)
        cluster.kill(usual)
    assert "on each kind of machine:" in ran.stdout, ran.stdout + ran.stderr
    assert "ATEN_CPU_CAPABILITY=default" in ran.stdout
    records = json.loads(written.read_text())
    assert len(records) == 4
    by_case = Counter(one["case"] for one in records)
    assert set(by_case.values()) == {2}
    reasons = {one["reason"] for one in records if "default" in one["environment"]}
    assert all("ATEN_CPU_CAPABILITY=default" in one for one in reasons)
