import sys

import pytest

from detq_deploy.trt import machine
from detq_deploy.trt.driver import Driver, Gpu
from detq_deploy.trt.load import MODULES
from tests.detq_deploy.trt.contract.double import Double, double_of
from tests.detq_deploy.trt.contract.versions import VERSIONS, Version

ORIN = Gpu(0, "Orin", "sm87", 30_000)


@pytest.fixture(params=VERSIONS, ids=str)
def version(request: pytest.FixtureRequest) -> Version:
    found: Version = request.param
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture
def double(version: Version, monkeypatch: pytest.MonkeyPatch) -> Double:
    """A double of one version, in the place of the module."""
    made = double_of(version)
    monkeypatch.setitem(sys.modules, "tensorrt", made.module)
    if not version.package:
        monkeypatch.setitem(sys.modules, MODULES["tensorrt-rtx"][0], made.module)
    return made


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A machine with a driver and an Orin, as far as we ask it."""
    found = (Driver("540.3.0", "12.2", (ORIN,)), ORIN)
    monkeypatch.setattr(machine, "require_gpu", lambda: found)
    return ORIN
