from importlib.util import find_spec

import pytest

from detq_deploy.trt.load import MODULES


@pytest.fixture(scope="session")
def rtx() -> None:
    if not any(find_spec(name) for name in MODULES["tensorrt-rtx"]):
        pytest.skip("TensorRT-RTX is not installed: pip install 'detq[trt-check]'")
