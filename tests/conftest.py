import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

# The tensors are small: on a busy machine, threads of torch that wait for each other
# would take a hundred times as long as the work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no reason to fail, and one commit gives one outcome.
hypothesis.settings.register_profile("detq", deadline=None, derandomize=True)
hypothesis.settings.load_profile("detq")


@pytest.fixture(scope="session")
def data() -> Path:
    folder = Path(os.environ.get("DETQ_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("test data not found: set DETQ_DATA")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    # Where torch is missing, as on a device, a test file that imports it is left out.
    # tests/test_imports.py holds the list of modules that may do so.
    report = yield
    if (
        report.failed
        and find_spec("torch") is None
        and "No module named 'torch'" in str(report.longrepr)
    ):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, "Skipped: needs torch, which is not installed")
    return report
