from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from detq.model import FloatModel
from onnx_adapter import read_onnx

Read = Callable[..., FloatModel]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a model to a file and read it back through the adapter."""

    def write_and_read(model: onnx.ModelProto, *arguments: object, **options: object) -> FloatModel:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return read_onnx(path, *arguments, **options)  # type: ignore[arg-type]

    return write_and_read
