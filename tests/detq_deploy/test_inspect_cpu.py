from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from detq.errors import InputError, TargetError
from detq_deploy.inspect_cpu import INSPECTORS, int8_layers

ENGINES = sorted(INSPECTORS)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_float_file_runs_in_float(engine: str, float_file: Path) -> None:
    found = int8_layers(engine, float_file)
    assert (found.convolutions, found.int8) == (2, 0)
    assert found.in_float == ("first.conv", "second.conv")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_quantized_file_runs_in_int8(engine: str, qdq_file: Path) -> None:
    found = int8_layers(engine, qdq_file)
    assert (found.convolutions, found.int8, found.in_float) == (2, 2, ())
    assert sum(found.kernels.values()) == 2


@pytest.mark.parametrize(("engine", "int8"), [("onnxruntime", 1), ("openvino", 2)])
def test_onnxruntime_wants_codes_behind_a_convolution(
    engine: str, int8: int, write_chain: Callable[..., Path]
) -> None:
    found = int8_layers(engine, write_chain(quantized=True, last_quantized=False))
    assert (found.convolutions, found.int8) == (2, int8)
    assert found.in_float == ("second.conv",) * (2 - int8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("quantized", "int8"), [(False, 0), (True, 2)])
def test_nodes_need_no_names(
    engine: str, quantized: bool, int8: int, write_chain: Callable[..., Path]
) -> None:
    path = write_chain(quantized=quantized)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, path)
    found = int8_layers(engine, path)
    assert (found.convolutions, found.int8, len(found.in_float)) == (2, int8, 2 - int8)


def test_a_backend_that_cannot_tell(float_file: Path) -> None:
    with pytest.raises(TargetError, match="one of onnxruntime, openvino"):
        int8_layers("torch", float_file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        int8_layers("openvino", tmp_path / "none.onnx")
