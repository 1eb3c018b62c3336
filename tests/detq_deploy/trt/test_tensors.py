"""Inputs and outputs by number, as JetPack 5.0 has them; by name they are in ``test_runner``.

The bindings of 8.6.1 have both forms and are the oldest there are without the libraries.
"""

from typing import Any

import pytest

from detq_deploy.trt.tensors import Limits, NamedTensors, NumberedTensors, tensors_of
from tests.detq_deploy.trt.contract.double import Double


@pytest.fixture
def numbered(double: Double) -> NumberedTensors:
    if not hasattr(double.module.ICudaEngine, "num_bindings"):
        pytest.skip("this version has no bindings by number")
    types = double.module.DataType
    shapes = {0: (-1, 3, 8, 8), 1: (-1, 6)}
    double.answers |= {
        "ICudaEngine.num_bindings": 2,
        "ICudaEngine.num_optimization_profiles": 1,
        "ICudaEngine.get_binding_name": lambda _, index: ("images", "outputs")[index],
        "ICudaEngine.binding_is_input": lambda _, index: index == 0,
        "ICudaEngine.get_binding_dtype": lambda _, index: (types.FLOAT, types.HALF)[index],
        "ICudaEngine.get_binding_shape": lambda _, index: shapes[index],
        "ICudaEngine.get_profile_shape": lambda _, profile, index: [
            (1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8),
        ],
        "IExecutionContext.get_binding_shape": lambda _, index: (2, *shapes[index][1:]),
    }  # fmt: skip
    return NumberedTensors(double.make("ICudaEngine"), double.make("IExecutionContext"))


def test_by_number(numbered: NumberedTensors, double: Double) -> None:
    images, outputs = numbered.specs
    assert (images.name, images.is_input, images.dtype, images.shape) == (
        "images", True, "float32", (-1, 3, 8, 8),
    )  # fmt: skip
    assert images.limits == (Limits((1, 3, 8, 8), (4, 3, 8, 8)),)
    assert (outputs.name, outputs.is_input, outputs.dtype) == ("outputs", False, "float16")
    assert numbered.set_input_shape("images", (2, 3, 8, 8), 7)
    assert numbered.shape("outputs") == (2, 6)
    numbered.bind("outputs", 22)
    numbered.bind("images", 11)
    assert numbered.enqueue(7)
    calls = {call.name: call.args for call in double.calls}
    assert calls["IExecutionContext.set_binding_shape"] == (0, (2, 3, 8, 8))
    assert calls["IExecutionContext.execute_async_v2"] == ([11, 22], 7)


def test_names_are_taken_where_there_are_any(double: Double) -> None:
    engine, context = double.make("ICudaEngine"), double.make("IExecutionContext")
    assert isinstance(tensors_of(engine, context), NamedTensors)

    class Older:
        num_bindings = 0

    older: Any = Older()
    assert isinstance(tensors_of(older, context), NumberedTensors)


@pytest.mark.parametrize(
    ("shape", "taken"),
    [((1, 3, 8, 8), True), ((4, 3, 8, 8), True), ((5, 3, 8, 8), False), ((1, 3, 8), False)],
)
def test_limits(shape: tuple[int, ...], taken: bool) -> None:
    assert Limits((1, 3, 8, 8), (4, 3, 8, 8)).take(shape) is taken
