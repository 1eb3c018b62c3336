"""Inspector files of every generation; ``inspector/README.md`` says where they are from."""

import json
from pathlib import Path

import pytest

from detq.errors import InputError
from detq_deploy.nvidia.inspector import (
    detailed,
    is_profile,
    kernels_from_inspector,
    times_from_profile,
)
from detq_deploy.nvidia.kernel import Kernel, Tensor

FILES = Path(__file__).with_name("inspector")


def read(name: str) -> tuple[Kernel, ...]:
    return kernels_from_inspector((FILES / name).read_text(), name)


def test_tensorrt_8_tells_types_in_phrases_and_nodes_in_names() -> None:
    found = {kernel.name.split(" + ")[-1]: kernel for kernel in read("trt8.5.json")}
    stem = found["stem.act"]
    assert stem.nodes == ("stem.conv.weight", "stem.conv.weight.quantize", "stem.conv", "stem.act")
    assert [tensor.dtype for tensor in (*stem.inputs, *stem.outputs)] == ["Int8", "Int8"]
    assert stem.inputs[0].layout.startswith("Four wide channel vectorized")
    assert stem.constants == (Tensor("weights", (32, 3, 3, 3), "Int8"),)
    assert (stem.kind, stem.int8, stem.precision) == ("convolution", True, "Int8")
    assert {name: kernel.kind for name, kernel in found.items() if kernel is not stem} == {
        "images.quantize": "quantize",
        "Reformatting CopyNode for Input Tensor 0 to pool": "reformat",
        "pool": "pool",
        "mid.quantize": "quantize",
        "mid.conv": "convolution",
        "up.upsample": "convolution",
        "pred.conv": "convolution",
        "outputs copy": "nothing",
    }
    # Rounded outside, computed in half precision: its weights say so.
    assert (found["mid.conv"].int8, found["mid.conv"].precision) == (False, "Half")
    assert found["pool"].precision == "Half"


def test_only_the_first_profile_counts_and_metadata_tells_the_nodes() -> None:
    first, both = read("trt8.5.json"), read("trt8.6.json")
    assert [kernel.name for kernel in both] == [kernel.name for kernel in first]
    assert both[1].nodes == (
        "stem.conv", "stem.act", "images.dequantize", "stem.conv.weight.dequantize",
    )  # fmt: skip
    # Where the metadata is empty the name is asked.
    assert both[2].nodes == ("Reformatting CopyNode for Input Tensor 0 to pool",)


def test_tensorrt_10_has_bare_types_and_generated_kernels() -> None:
    kinds = [(kernel.kind, kernel.precision) for kernel in read("trt10.json")]
    assert kinds == [
        ("rescale", "Float"), ("convolution", "Int8"), ("rescale", "Half"), ("convolution", "Int8"),
        ("rescale", "Half"), ("cast", "Int8"), ("convolution", "Half"), ("convolution", "Half"),
    ]  # fmt: skip


def test_tensorrt_11_tells_type_and_layout_apart() -> None:
    _, stem, up = read("trt11.json")
    assert (stem.inputs[0].dtype, stem.inputs[0].layout) == ("Int8", "(NHWC) Channel major format")
    assert (stem.int8, up.int8, up.kind) == (True, False, "convolution")
    assert stem.weights == Tensor("w", (32, 4, 3, 3), "Int8", "(NHWC) Channel major format")
    assert up.weights is not None and up.weights.name == "w2"


def test_products() -> None:
    found = {kernel.name: kernel.macs for kernel in read("trt8.5.json")}
    assert found["stem.conv.weight + stem.conv.weight.quantize + stem.conv + stem.act"] == (
        32 * 3 * 9 * 32 * 32
    )
    assert found["up.upsample"] == 64 * 32 * 4 * 16 * 16  # by the pixels it reads
    assert found["pool"] == 0
    assert [kernel.macs for kernel in read("trt11.json")][2] == 32 * 16 * 4 * 32 * 32


def test_a_batch_that_varies_counts_once() -> None:
    text = (FILES / "trt11.json").read_text().replace("1,\n      3,", "-1,\n      3,")
    layers = json.loads(text)["Layers"]
    for layer in layers:
        for tensor in (*layer["Inputs"], *layer["Outputs"]):
            tensor["Dimensions"][0] = -1
    found = kernels_from_inspector(json.dumps({"Layers": layers}))
    assert [k.macs for k in found][:2] == [0, 32 * 4 * 9 * 32 * 32]
    assert all(kernel.bytes_moved > 0 for kernel in found)


def test_an_engine_without_details() -> None:
    found = read("names.json")
    assert [kernel.name for kernel in found] == ["stem.conv + stem.act", "pool", "pred.conv"]
    assert not detailed(found)
    assert detailed(read("trt10.json"))


@pytest.mark.parametrize(("file", "first"), [("profile8.json", 0.1), ("profile10.json", 0.09)])
def test_times_by_name(file: str, first: float) -> None:
    text = (FILES / file).read_text()
    assert is_profile(text)
    found = times_from_profile(text, file)
    assert list(found) == [kernel.name for kernel in read("trt8.5.json")]
    assert found["images.quantize"] == pytest.approx(first)


@pytest.mark.parametrize("text", ["{}", "[]", '{"Layers": 3}', '{"Layers": [{}]}', '"x"'])
def test_something_else(text: str) -> None:
    with pytest.raises(InputError, match="neither the layers nor the times"):
        kernels_from_inspector(text, "x.json")
    with pytest.raises(InputError, match="neither the layers nor the times"):
        times_from_profile(text, "x.json")


def test_no_json() -> None:
    with pytest.raises(InputError, match=r"x.json: is not JSON: .*\(write it again with trtexec"):
        kernels_from_inspector('{"Layers": [', "x.json")
