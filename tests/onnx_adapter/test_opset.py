from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from detq.errors import UnsupportedOperatorError
from onnx_adapter.fold import fold
from onnx_adapter.opset import one_opset
from tests.engines import assert_within_range
from tests.onnx_adapter.engine import images, outputs
from tests.onnx_adapter.graphs import Net

SHAPE = [2, 3, 8, 16]
Body = Callable[[Net], str]

FORMS: dict[str, tuple[int, Body]] = {
    "squeeze": (11, lambda n: n.op("Squeeze", n.op("Slice", "images", n.ints(0), n.ints(1),
                                                   n.ints(1)), axes=[1])),
    "unsqueeze": (11, lambda n: n.op("Unsqueeze", "images", axes=[0, 3])),
    "split": (11, lambda n: n.op("Split", "images", outputs=2, axis=2, split=[3, 5])[1]),
    "equal split": (11, lambda n: n.op("Split", "images", outputs=2, axis=3)[1]),
    "sum": (11, lambda n: n.op("ReduceSum", "images", axes=[1, -1], keepdims=0)),
    "sum of all": (11, lambda n: n.op("ReduceSum", "images")),
    "softmax of the last": (11, lambda n: n.op("Softmax", "images", axis=3)),
    "softmax, others are one": (11, lambda n: n.op(
        "Softmax", n.op("Reshape", "images", n.ints(2, 384, 1, 1)))),
    "resize": (11, lambda n: n.upsample("images")),
    "resize to sizes": (12, lambda n: n.op(
        "Resize", "images", n.store(np.zeros(0, np.float32)), n.store(np.zeros(0, np.float32)),
        n.ints(2, 3, 16, 16), mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric")),
    "mean": (18, lambda n: n.op("ReduceMean", "images", n.ints(2, 3), keepdims=0)),
    "mean of all": (21, lambda n: n.op("ReduceMean", "images")),
    "largest": (20, lambda n: n.op("ReduceMax", "images", n.ints(1))),
    "split in parts": (18, lambda n: n.op("Split", "images", outputs=3, axis=3, num_outputs=3)[2]),
    "resize of 19": (19, lambda n: n.upsample("images")),
    "average of 19": (19, lambda n: n.op("AveragePool", "images", kernel_shape=[2, 2],
                                         dilations=[1, 1])),
    "cast of 21": (21, lambda n: n.op("Cast", "images", to=1, saturate=1)),
    "mish": (18, lambda n: n.op("Mish", "images")),
    "pad": (21, lambda n: n.op("Pad", "images", n.ints(0, 0, 1, 1, 0, 0, 0, 2))),
}  # fmt: skip
# Operators that were not there in opset 17, or not in this form.
TOO_NEW: dict[str, tuple[int, Body]] = {
    "gelu": (20, lambda n: n.op("Gelu", "images")),
    "pad of some axes": (21, lambda n: n.op("Pad", "images", n.ints(1, 1), "", n.ints(2))),
    "dilated average": (19, lambda n: n.op("AveragePool", "images", kernel_shape=[2, 2],
                                           dilations=[2, 2])),
    "antialias": (18, lambda n: n.op(
        "Resize", "images", "", n.store(np.array([1, 1, 0.5, 0.5], np.float32)), mode="linear",
        antialias=1)),
    "mean along computed axes": (18, lambda n: n.op(
        "ReduceMean", "images", n.op("Gather", n.op("Cast", "images", to=7), n.ints(0), axis=0))),
}  # fmt: skip


def converted(opset: int, body: Body) -> tuple[ir.Model, bytes]:
    net = Net(opset)
    proto = net.finish(SHAPE, body(net))
    model = ir.from_proto(proto)
    fold(model, model.graph.inputs[0])
    one_opset(model)
    return model, proto.SerializeToString()


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_another_opset_computes_the_same(form: str) -> None:
    model, before = converted(*FORMS[form])
    assert model.opset_imports[""] == 17
    x = images(*SHAPE[:1], *SHAPE[2:])
    (wanted,), (got,) = outputs(before, x), outputs(ir.to_proto(model).SerializeToString(), x)
    assert_within_range(got, wanted, 1e-6)


@pytest.mark.parametrize("form", TOO_NEW)
def test_a_graph_stays_as_it_is_where_there_is_no_older_form(form: str) -> None:
    opset, body = TOO_NEW[form]
    model, before = converted(opset, lambda n: n.op("Relu", body(n)))
    assert model.opset_imports[""] == opset
    assert [node.op_type for node in model.graph] == [
        node.op_type for node in ir.from_proto(_parsed(before)).graph
    ]


def _parsed(content: bytes) -> "ir.serde.onnx.ModelProto":
    import onnx

    return onnx.ModelProto.FromString(content)


def test_a_softmax_over_several_dimensions_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="Softmax over several dimensions"):
        converted(11, lambda n: n.op("Softmax", "images", axis=1))


def test_marks_of_the_nodes_are_kept() -> None:
    net = Net(11)
    model = ir.from_proto(net.finish(SHAPE, net.op("ReduceSum", "images", axes=[1])))
    model.graph[0].metadata_props["key"] = "value"
    one_opset(model)
    assert model.graph[0].metadata_props == {"key": "value"}
