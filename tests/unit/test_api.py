"""The public API: lazy, typed, and of objects as well as of names."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import qreg
from qreg.baselines.store import Store
from qreg.data import get_dataset
from qreg.errors import ContractError, QregError
from qreg.gate.observe import Gate
from qreg.models.linear_100 import Linear100
from qreg.quantization import METHODS, Context, Method
from qreg.quantization.engines import default_engine
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement

LITTLE = qreg.Options(limit=20)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_importing_qreg_imports_no_torch_and_offers_all() -> None:
    code = (
        "import sys, qreg\n"
        "assert set(qreg.__all__) <= set(dir(qreg))\n"
        "assert not {'torch', 'numpy', 'qreg.api'} & set(sys.modules), 'too much is imported'\n"
        "qreg.Case, qreg.Verdict, qreg.Outcome, qreg.Measurement, qreg.QregError, qreg.Method\n"
        "qreg.compare, qreg.judge\n"
        "assert 'torch' not in sys.modules, 'asking for a name imports torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_the_thing_itself() -> None:
    for name in qreg.__all__:
        assert getattr(qreg, name) is not None
    assert qreg.Case is Case
    assert qreg.Method is Method
    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        qreg.comparee  # noqa: B018
    assert re.fullmatch(r"\d+\.\d+\.\d+", qreg.__version__)


def test_the_example_of_the_package_runs() -> None:
    assert doctest.testmod(qreg, verbose=False) == (0, 3)


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(block, {})


def test_a_module_stays_as_it_is_and_is_measured() -> None:
    torch.manual_seed(0)
    model = Linear100()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fp32, dynamic = qreg.compare(model, methods=["dynamic"], options=LITTLE)
    assert isinstance(fp32, Measurement)
    assert isinstance(dynamic, Measurement)
    assert str(fp32.case) == f"shapes10/given:Linear100/fp32@{default_engine()}"
    assert dynamic.size.weight_bytes < fp32.size.weight_bytes
    assert type(model.get_submodule("linear")) is nn.Linear
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
    assert not METHODS.knows("given")


def test_functions_and_objects_have_names_only_meanwhile() -> None:
    def half(model: nn.Module, context: Context) -> nn.Module:
        return model

    own = Method("nothing", half, float_only=True)
    shapes = get_dataset("shapes10")
    found = qreg.compare(
        Linear100, shapes, methods=[half, own], engines=("all",), name="own:net", options=LITTLE
    )
    assert {one.case.model for one in found} == {"own:net"}
    assert [one.case.method for one in found].count("nothing") == 1  # it says that it is float
    assert {one.case.method for one in found} == {"fp32", "given:half", "nothing"}
    with pytest.raises(QregError, match="nothing"):
        METHODS.check("nothing")


def test_a_dataset_of_pytorch_is_taken_as_it_is() -> None:
    from torch.utils.data import TensorDataset

    torch.manual_seed(0)
    images, labels = torch.rand(12, 3, 32, 32), torch.arange(12) % 10
    data = {split: TensorDataset(images, labels) for split in ("train", "test")}
    found = qreg.compare(Linear100, data, methods=["dynamic"])
    assert [type(one) for one in found] == [Measurement, Measurement], found
    assert str(found[0].case).startswith("given:dict/given:Linear100/fp32@")
    assert found[0].accuracy.total == 12


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ContractError, match="a int is not a model"):
        qreg.compare(3)  # type: ignore[arg-type]


def test_a_method_that_cannot_be_made_is_a_failure_of_its_own() -> None:
    def broken(model: nn.Module, context: Context) -> nn.Module:
        raise RuntimeError("no such kernel")

    fp32, failed = qreg.compare("linear_100", methods=[broken], options=LITTLE)
    assert isinstance(fp32, Measurement)
    assert isinstance(failed, Failure)
    assert "no such kernel" in failed.reason


@pytest.fixture
def approved(colours: Path, nets: str, own_cache: Path, tmp_path: Path) -> tuple[str, Path]:
    """A case of a small data set and net, and the folder of its baseline."""
    case = Case("colours", f"{nets}:make_net", "dynamic", default_engine())
    gate = Gate(qreg.Options(download=False, sources=(("colours", str(colours)),)))
    snapshot = gate.observe(case)
    assert isinstance(snapshot, Snapshot)
    store = Store(tmp_path / "baselines")
    store.write(Baseline(snapshot, (Approval("a test", "2026-01-01", "", "0"),)))
    return str(case), store.root


def test_a_case_is_judged_by_its_baseline(
    approved: tuple[str, Path], colours: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    case, baselines = approved
    threads = torch.get_num_threads()
    verdict = qreg.judge(case, dataset=colours, baselines=baselines)
    assert verdict.outcome is qreg.Outcome.PASS
    assert torch.get_num_threads() == threads
    other = qreg.judge(case, dataset=colours, baselines=baselines, method="fp32")
    assert other.outcome is qreg.Outcome.REGRESSED


def test_a_case_must_be_one() -> None:
    with pytest.raises(QregError, match="is not a case") as caught:
        qreg.judge("shapes10/simple_cnn")
    assert "static@x86" in caught.value.hint
