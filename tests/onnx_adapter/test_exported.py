from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from detq.detection import rows_of_output
from detq.graph.build import DECODE, STAGE
from detq.model import FloatModel
from detq.placement import place
from detq.target import PLAIN
from detq.transforms import DEFAULT, transform
from tests.engines import assert_within_range, in_interpreter
from tests.onnx_adapter.conftest import Read
from tests.onnx_adapter.engine import images, outputs
from tests.onnx_adapter.networks import CLASSES, Channels, Rows, exported, with_statistics

ANY_BATCH = {"images": {0: "batch"}, "output0": {0: "batch"}}
ANY_SIZE = {"images": {0: "batch", 2: "h", 3: "w"}, "output0": {0: "batch"}}
CELLS = 8 * 8 + 4 * 4


def exactly(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(x)).numpy()


def parsed(content: bytes, **metadata: str) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(content)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model


def int8_layers(model: FloatModel) -> list[str]:
    return [layer.node for layer in place(model, PLAIN).layers if layer.int8]


@pytest.mark.parametrize(("opset", "axes"), [(11, None), (17, ANY_BATCH), (19, ANY_SIZE)])
def test_branches_of_an_export_are_merged(
    read: Read, opset: int, axes: dict[str, dict[int, str]] | None
) -> None:
    torch.manual_seed(0)
    network = with_statistics(Rows())
    source = read(parsed(exported(network, opset=opset, axes=axes)), (32, 32))
    merged = transform(source, DEFAULT)
    kinds = Counter(node.op_type for node in merged.graph.graph)
    assert (kinds["Conv"], kinds["BatchNormalization"]) == (5 + 2, 0)
    names = [str(node.name) for node in merged.graph.graph if node.op_type == "Conv"]
    assert names[0] == "backbone.0.conv"
    assert len(int8_layers(merged)) == 5
    assert Counter(block.kind for block in source.blocks)["branches"] == 5
    x = images(1 if axes is None else 3)
    wanted = exactly(network, x)
    got = next(iter(in_interpreter(merged.graph, {"images": x}).values()))
    assert_within_range(got, wanted, 1e-6)
    assert source.detector.strides == (4, 8)


def test_a_merged_export_gives_the_same_layers(read: Read) -> None:
    torch.manual_seed(0)
    apart = transform(read(parsed(exported(with_statistics(Rows()), axes=ANY_BATCH))), DEFAULT)
    again = read(ir.to_proto(apart.graph))
    assert int8_layers(transform(again, DEFAULT)) == int8_layers(apart)


@pytest.mark.parametrize(("opset", "axes"), [(11, None), (17, ANY_SIZE)])
def test_columns_in_dimension_one_are_read(
    read: Read, opset: int, axes: dict[str, dict[int, str]] | None
) -> None:
    torch.manual_seed(0)
    network = with_statistics(Channels())
    proto = parsed(exported(network, opset=opset, axes=axes), names="{0: 'a', 1: 'b', 2: 'c'}",
                   imgsz="[32, 32]", task="detect", stride="8")  # fmt: skip
    source = read(proto)
    merged = transform(source, DEFAULT)
    assert (source.detector.layout, source.detector.names) == ("channels", ("a", "b", "c"))
    assert source.graph.metadata_props["stride"] == "8"
    x = images(1 if axes is None else 2)
    (got,) = outputs(ir.to_proto(merged.graph).SerializeToString(), x)
    wanted = exactly(network, x)
    assert_within_range(got, wanted, 1e-6)
    rows = rows_of_output(got, source.detector, len(x))
    assert rows.shape == (len(x), CELLS, 5 + CLASSES)
    np.testing.assert_array_equal(rows[..., :4], got.transpose(0, 2, 1)[..., :4])
    assert (rows[..., 4] == 1).all()


def test_the_mean_of_the_bins_is_decoding(read: Read) -> None:
    torch.manual_seed(0)
    merged = transform(read(parsed(exported(with_statistics(Channels())))), DEFAULT)
    layers = {layer.node: layer for layer in place(merged, PLAIN).layers}
    assert layers["mean"].reason == "decoding of boxes is float"
    floats = [name for name, layer in layers.items() if not layer.int8]
    assert sorted(floats) == ["boxes.0.1", "boxes.1.1", "mean", "scores.0.1", "scores.1.1"]
    stage = {str(n.name): n.metadata_props[STAGE] for n in merged.graph.graph}
    assert (stage["mean"], stage["boxes.0.1"]) == (DECODE, "head.level_0")


def test_few_values_cross_the_borders_of_a_stage(read: Read) -> None:
    torch.manual_seed(0)
    graph = read(parsed(exported(with_statistics(Channels())))).graph.graph
    for stage in ("stage_1", "stage_2", "stage_3", "stage_4", "head.level_0", "head.level_1"):
        inside = {node for node in graph if node.metadata_props[STAGE] == stage}
        assert inside
        reads = [x for node in inside for x in node.inputs if x is not None]
        into = {x for x in reads if x.const_value is None and x.producer() not in inside}
        makes = [x for node in inside for x in node.outputs]
        out = {x for x in makes if any(use.node not in inside for use in x.uses())}
        assert len(into) <= 2, stage
        assert len(out) <= 2, stage
