from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from detq.errors import DetqError, InputError, UnsupportedOperatorError
from onnx_adapter import image_size, read_onnx
from tests.onnx_adapter.graphs import Net, detector


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx: no such file"):
        read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4", detector().SerializeToString()[:99]])
def test_another_file_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx: is no valid ONNX: ") as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)


def test_a_quantized_model_is_told(tmp_path: Path) -> None:
    net = Net()
    scale, zero = net.number(0.1), net.store(np.array(0, np.int8))
    x = net.op("QuantizeLinear", "images", scale, zero, at="input")
    model = net.finish([1, 3, 32, 32], net.op("DequantizeLinear", x, scale, zero))
    with pytest.raises(InputError) as caught:
        read_onnx(saved(tmp_path / "int8.onnx", model))
    assert str(caught.value) == (
        f"{tmp_path}/int8.onnx: is quantized already (QuantizeLinear /input/QuantizeLinear) "
        "(give the float model that it was made from)"
    )


def test_suppression_inside_the_graph_is_told(tmp_path: Path) -> None:
    net = Net()
    boxes, scores = (net.store(np.ones(shape, np.float32)) for shape in ((1, 8, 4), (1, 1, 8)))
    chosen = net.op("Cast", net.op("NonMaxSuppression", boxes, scores), to=TensorProto.FLOAT)
    model = net.finish([1, 3, 32, 32], chosen)
    with pytest.raises(UnsupportedOperatorError, match="NonMaxSuppression suppresses boxes"):
        read_onnx(saved(tmp_path / "nms.onnx", model))


def test_a_graph_inside_the_graph_is_told(tmp_path: Path) -> None:
    net = Net()
    branch = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["y"])],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    yes = net.store(np.array(True))
    model = net.finish([1, 3, 32, 32], net.op("If", yes, then_branch=branch, else_branch=branch))
    with pytest.raises(UnsupportedOperatorError, match="If runs a graph inside the graph"):
        read_onnx(saved(tmp_path / "if.onnx", model))


def test_an_old_opset_is_told(tmp_path: Path) -> None:
    net = Net(10)
    path = saved(tmp_path / "old.onnx", net.finish([1, 3, 32, 32], net.op("Relu", "images")))
    with pytest.raises(InputError, match=r"is of opset 10 \(export it again with opset 11"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([1, 4, 32, 32], "takes 1 x 4 x 32 x 32"),
        ([1, 32, 32, 3], "takes 1 x 32 x 32 x 3"),
        ([1, 3, 32], "takes 1 x 3 x 32"),
        ([9999, 3, 32, 32], "takes 9999 x 3 x 32 x 32"),
    ],
)
def test_an_input_that_is_no_image_is_told(tmp_path: Path, shape: list[int], words: str) -> None:
    net = Net()
    path = saved(tmp_path / "model.onnx", net.finish(shape, net.op("Relu", "images")))
    with pytest.raises(InputError, match=words):
        read_onnx(path)


def test_integer_images_are_told(tmp_path: Path) -> None:
    model = detector()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(InputError, match="takes images of UINT8"):
        image_size(saved(tmp_path / "model.onnx", model))


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    plain = read_onnx(saved(tmp_path / "plain.onnx", detector()))
    path = tmp_path / "outside.onnx"
    onnx.save(detector(), path, save_as_external_data=True, location="outside.data",
              size_threshold=0)  # fmt: skip
    found = read_onnx(path)
    (tmp_path / "outside.data").unlink()  # all is in memory by now
    for name, value in plain.graph.graph.initializers.items():
        other = found.graph.graph.initializers[name]
        assert value.const_value is not None
        assert other.const_value is not None
        np.testing.assert_array_equal(value.const_value.numpy(), other.const_value.numpy())
    with pytest.raises(InputError, match="is no valid ONNX"):
        read_onnx(path)


@pytest.mark.parametrize("location", ["../secret.data", "/etc/hostname"])
def test_data_elsewhere_is_not_read(
    tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.data").write_bytes(bytes(10_000))
    inner = tmp_path / "inner"
    inner.mkdir()
    model = detector()
    tensor = next(x for x in model.graph.initializer if len(x.raw_data) > 64)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    saved(inner / "model.onnx", model)
    monkeypatch.chdir(inner)
    for path in (inner / "model.onnx", Path("model.onnx")):
        with pytest.raises(DetqError, match="is no valid ONNX"):
            read_onnx(path)


def test_functions_are_inlined(tmp_path: Path) -> None:
    model = detector()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Act", ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "Act", "own"
    found = read_onnx(saved(tmp_path / "model.onnx", model))
    wanted = read_onnx(saved(tmp_path / "plain.onnx", detector()))
    assert [n.op_type for n in found.graph.graph] == [n.op_type for n in wanted.graph.graph]
    assert dict(found.graph.opset_imports) == {"": 17}


@pytest.mark.parametrize("last", ["Relu", "f0"])  # f0: in a circle
def test_functions_that_double_each_other_are_told(tmp_path: Path, last: str) -> None:
    model = detector()
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for i in range(40):
        inner = f"f{i + 1}" if i < 39 else last
        domain = "" if inner == "Relu" else "own"
        body = [helper.make_node(inner, ["a"], [y], domain=domain) for y in ("b", "c")]
        body.append(helper.make_node("Add", ["b", "c"], ["d"]))
        model.functions.append(helper.make_function("own", f"f{i}", ["a"], ["d"], body, imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "f0", "own"
    with pytest.raises(InputError, match=r"too large with its functions|is no valid ONNX"):
        read_onnx(saved(tmp_path / "model.onnx", model))


def test_the_size_is_read_alone(tmp_path: Path) -> None:
    assert image_size(saved(tmp_path / "model.onnx", detector(size=(64, 32)))) == (64, 32)
    path = saved(tmp_path / "any.onnx", detector(size=("h", "w"), metadata={"imgsz": "[96, 32]"}))
    assert image_size(path) == (96, 32)


def test_nodes_may_stand_in_any_order(tmp_path: Path) -> None:
    """As converters to half precision leave them."""
    proto = detector()
    wanted = read_onnx(saved(tmp_path / "model.onnx", proto))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    found = read_onnx(saved(tmp_path / "turned.onnx", proto))
    kinds = [[node.op_type for node in model.graph.graph] for model in (found, wanted)]
    assert sorted(kinds[0]) == sorted(kinds[1])
    assert found.detector.strides == wanted.detector.strides


def test_a_circle_is_told(tmp_path: Path) -> None:
    proto = detector()
    first, second = proto.graph.node[0], proto.graph.node[1]
    first.input[0] = second.output[0]
    if first.output[0] not in second.input:
        second.input[0] = first.output[0]
    with pytest.raises(InputError, match=r"circle\.onnx: is no valid ONNX: "):
        read_onnx(saved(tmp_path / "circle.onnx", proto))
