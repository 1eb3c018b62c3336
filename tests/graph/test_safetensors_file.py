import base64
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from safetensors.numpy import load_file, save_file

from detq.errors import InputError
from detq.graph.safetensors_file import (
    STRUCTURE,
    is_safetensors,
    load_safetensors,
    save_safetensors,
)
from tests.zoo import ZOO, tiny_detector

KINDS = ["tiny_detector", "bottlerep_alpha", "qarepvgg_v2", "repopt", "lite"]
LAYERS = {"Conv", "ConvTranspose", "BatchNormalization"}


def network(kind: str = "tiny_detector") -> ir.Model:
    return tiny_detector().graph if kind == "tiny_detector" else ZOO[kind]().graph


def encoded(model: ir.Model) -> bytes:
    content: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_safetensors(network(), tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_was_written(tmp_path: Path, kind: str) -> None:
    model, path = network(kind), tmp_path / "deep" / "x.safetensors"
    before = encoded(model)
    save_safetensors(model, path)
    assert encoded(model) == before
    assert encoded(load_safetensors(path)) == before  # nodes, names, metadata, weights, order


def test_the_same_model_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_safetensors(load_safetensors(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_the_numbers_are_tensors_of_the_names_in_the_graph(path: Path) -> None:
    floats = {
        name: value.const_value.numpy()
        for name, value in network().graph.initializers.items()
        if value.const_value is not None and value.dtype == ir.DataType.FLOAT
    }
    found = load_file(path)
    assert set(found) == set(floats)
    for name, array in floats.items():
        np.testing.assert_array_equal(found[name], array)


def test_an_epsilon_is_the_number_that_was_written(path: Path) -> None:
    nodes = [n for n in load_safetensors(path).graph if n.op_type == "BatchNormalization"]
    assert {node.attributes["epsilon"].as_float() for node in nodes} == {1e-3}


def test_half_precision_halves_the_weights_of_layers_only(path: Path, tmp_path: Path) -> None:
    halved = tmp_path / "half.safetensors"
    save_safetensors(network(), halved, half=True)
    found, whole, back = load_file(halved), load_file(path), load_safetensors(halved).graph
    small = {name for name, array in found.items() if array.dtype == np.float16}
    readers = {n: {u.op_type for u in back.initializers[n].consumers()} for n in found}
    assert small == {n for n, kinds in readers.items() if kinds <= LAYERS}
    assert 0 < len(small) < len(found)
    for name, array in whole.items():
        wanted = array.astype(np.float16) if name in small else array
        assert back.initializers[name].dtype == ir.DataType.FLOAT
        value = back.initializers[name].const_value
        assert value is not None
        np.testing.assert_array_equal(value.numpy(), wanted.astype(np.float32))
    assert halved.stat().st_size < path.stat().st_size


def test_a_weight_that_half_precision_cannot_hold_stays_whole(tmp_path: Path) -> None:
    model = network("repopt")
    name = next(n for n in model.graph.initializers if n.endswith("conv.weight"))
    value = model.graph.initializers[name]
    assert value.const_value is not None
    large = value.const_value.numpy() + np.float32(1e5)
    value.const_value = ir.tensor(large, name=name)
    save_safetensors(model, tmp_path / "x.safetensors", half=True)
    np.testing.assert_array_equal(load_file(tmp_path / "x.safetensors")[name], large)


def test_a_safetensors_file_is_known_by_its_content(path: Path) -> None:
    assert is_safetensors(path.read_bytes()[:9])
    for start in (b"", b"PK\x03\x04" + b"0" * 8, b"\x08\x08\x12\x04detq{", b"\xff" * 8 + b"{"):
        assert not is_safetensors(start)


def structure_of(path: Path) -> onnx.ModelProto:
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return onnx.ModelProto.FromString(base64.b64decode(header["__metadata__"][STRUCTURE]))


def rewrite(path: Path, change: Callable[[onnx.ModelProto, dict[str, np.ndarray]], None]) -> None:
    proto, arrays = structure_of(path), dict(load_file(path))
    change(proto, arrays)
    text = base64.b64encode(proto.SerializeToString()).decode()
    save_file(arrays, path, metadata={STRUCTURE: text})


def of_another_shape(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    name = next(iter(arrays))
    arrays[name] = arrays[name][:1].copy()


def of_another_type(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    name = next(iter(arrays))
    arrays[name] = arrays[name].astype(np.float64)


def without_one(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    arrays.popitem()


def with_one_more(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    arrays["more"] = np.zeros(3, np.float32)


def with_nan(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    name = next(iter(arrays))
    arrays[name] = np.full_like(arrays[name], np.nan)


def with_data_elsewhere(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def with_a_loop(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    proto.graph.node[0].attribute.add(name="body", g=onnx.GraphProto(), type=5)


def with_a_function(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    proto.functions.add(name="f", domain="x")


def with_a_value_for_an_input(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    proto.graph.initializer[0].name = proto.graph.input[1].name


def with_another_order(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    next(p for p in proto.metadata_props if p.key == "detq.order").value = "ffo"


def with_weights_of_another_layer(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    convolutions[0].input[1] = convolutions[1].input[1]


def with_an_output_of_another_size(proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    value = next(v for v in proto.graph.value_info if len(v.type.tensor_type.shape.dim) == 4)
    value.type.tensor_type.shape.dim[2].dim_value += 1


CHANGES = {
    of_another_shape: "not [",
    of_another_type: "is F64",
    without_one: "tensors are not those of its structure",
    with_one_more: "tensors are not those of its structure",
    with_nan: "NaN or infinity in",
    with_data_elsewhere: "lie in another file",
    with_a_loop: "functions or graphs inside",
    with_a_function: "functions or graphs inside",
    with_a_value_for_an_input: "an input of its structure has a value",
    with_another_order: "not in a known order",
    with_an_output_of_another_size: "is damaged",
    with_weights_of_another_layer: "do not fit it",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_change_is_refused_in_one_line(
    path: Path, change: Callable[[onnx.ModelProto, dict[str, np.ndarray]], None]
) -> None:
    rewrite(path, change)
    with pytest.raises(InputError) as caught:
        load_safetensors(path)
    assert CHANGES[change] in str(caught.value)
    assert str(caught.value).startswith(f"{path}: is damaged: ")
    assert "\n" not in str(caught.value)


def header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def floats(start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


HOSTILE = {
    "empty": b"",
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{",
    "a header longer than the file": (2**20).to_bytes(8, "little") + b"{}",
    "no JSON": (5).to_bytes(8, "little") + b"{abc}",
    "numbers that overlap": header(a=floats(0, 8), b=floats(4, 12)) + bytes(12),
    "a hole between numbers": header(a=floats(0, 4), b=floats(8, 12)) + bytes(12),
    "numbers beyond the file": header(a=floats(0, 1 << 40)) + bytes(12),
    "a shape beyond its numbers": header(
        a={"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}
    )
    + bytes(4),
    "deep JSON": (100_000).to_bytes(8, "little") + b'{"a":' + b"[" * 99_995,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_each_trick_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(InputError) as caught:
        load_safetensors(path)
    assert str(caught.value).startswith(f"{path}: is damaged: ")
    assert "\n" not in str(caught.value)


def test_weights_alone_are_no_network(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"a": np.zeros(3, np.float32)}, path, metadata=metadata)
        with pytest.raises(InputError, match="weights without the structure"):
            load_safetensors(path)
    for text in ("no base64 here", "AAAA"):
        save_file({"a": np.zeros(3, np.float32)}, path, metadata={STRUCTURE: text})
        with pytest.raises(InputError, match="is damaged"):
            load_safetensors(path)


def test_no_file_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            load_safetensors(path)


def test_a_damaged_file_is_refused_or_gives_the_network(path: Path) -> None:
    content, rng = path.read_bytes(), random.Random(0)
    start = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(rng.choice((16, start, len(content))))] = rng.randrange(256)
        path.write_bytes(changed[: rng.choice((len(changed), rng.randrange(len(changed))))])
        try:
            load_safetensors(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
