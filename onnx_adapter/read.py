"""From an ONNX file to a float graph with blocks and stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from detq.detection import Layout
from detq.errors import ModelError
from detq.graph.files import detector_metadata
from detq.model import FloatModel
from onnx_adapter.contract import detector_of
from onnx_adapter.decode import Decode, find_decode
from onnx_adapter.flow import Flow, flow_of
from onnx_adapter.load import load_onnx
from onnx_adapter.mark import name_and_mark
from onnx_adapter.metadata import check_task, size_in
from onnx_adapter.passes import normalize
from onnx_adapter.sizes import Pair, fix_size, images_of


def read_onnx(
    path: Path,
    size: Pair | None = None,
    *,
    layout: Layout | None = None,
    names: Sequence[str] | None = None,
) -> FloatModel:
    """The network of an ONNX file for one image size; branches stay apart where they are.

    Args:
        path: a float detector of boxes, opset 11 or later; external data lies beside it.
        size: height and width in pixels; only needed where the graph takes any.
        layout: of the first output; recognised if None.
        names: class names; those of the metadata, or made up, if None.

    Raises:
        InputError: the file cannot be read, is quantized already, or does not fit the
            arguments.
        ModelError: the graph does not fit itself, or gives no boxes.
        UnsupportedOperatorError: it has a graph inside the graph, or suppresses boxes.
    """
    model = load_onnx(path)
    check_task(model.metadata_props, str(path))
    advised = size_in(model.metadata_props)
    size = fix_size(images_of(model.graph, path), size, advised, path)
    normalize(model, path)
    flow = flow_of(model.graph)
    decode = find_decode(flow)
    strides = _strides(flow, decode, size)
    boxes = _boxes(flow, model.graph.outputs[0], strides)
    if not boxes:
        raise ModelError(
            "has no convolution whose output becomes boxes",
            where=str(path),
            hint="give a detector of boxes",
        )
    name_and_mark(model.graph, flow, decode, strides)
    detector = detector_of(model, path, size, boxes, layout, names)
    model.metadata_props.update(detector_metadata(detector))
    return FloatModel(model, detector)


def image_size(path: Path) -> Pair:
    """Height and width that a file is made for.

    Raises:
        InputError: it cannot be read, or takes images of any size.
    """
    model = load_onnx(path)
    return fix_size(images_of(model.graph, path), None, size_in(model.metadata_props), path)


def _strides(flow: Flow, decode: Decode, size: Pair) -> dict[int, int]:
    """Prediction → pixels per cell, of those that are maps of cells."""
    found = {}
    for node in decode.predictions:
        cells = _map_of(flow.nodes[node])
        if cells:
            found[node] = max(round(size[0] / cells[0]), 1)
    return found


def _boxes(flow: Flow, output: ir.Value, strides: Mapping[int, int]) -> dict[int, int]:
    """Pixels per cell → cells, of the predictions that the first output is made of."""
    ends = [n for n, node in enumerate(flow.nodes) if node is output.producer()]
    reached = flow.leading_to(ends)
    found = {}
    for node, stride in strides.items():
        if node in reached:
            height, width = _map_of(flow.nodes[node])
            found[stride] = height * width
    return found


def _map_of(node: ir.Node) -> tuple[int, ...]:
    """Rows and columns that a node makes; nothing if that is not known."""
    dims = tuple(node.outputs[0].shape or ())[2:]
    whole = tuple(n for n in dims if isinstance(n, int) and n > 0)
    return whole if len(whole) == len(dims) == 2 else ()
