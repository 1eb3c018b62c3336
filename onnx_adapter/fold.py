"""Shapes of all values, and stored numbers in the place of what depends on no pixel."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from detq.errors import ModelError
from detq.graph.stored import Array, store
from onnx_adapter.follow import follow
from onnx_adapter.known import Known

# What is the same for two sizes of the batch does not depend on the batch.
BATCHES = (2, 3)
Runs = Sequence[Mapping[ir.Value, Known]]


def fold(model: ir.Model, images: ir.Value) -> None:
    """Follow shapes through the graph and store every content that is constant.

    A graph that declares any batch, but was traced for one, becomes a graph for one.

    Args:
        model: changed; what nothing reads any more stays in it.
        images: its input, with the image size fixed.

    Raises:
        ModelError: the inputs of a node do not fit each other.
    """
    runs = _runs(model.graph, images)
    for node in list(model.graph):
        for value in node.outputs:
            found = [run[value] for run in runs]
            value.type = None if found[0].dtype is None else ir.TensorType(found[0].dtype)
            value.shape = _shape(found, images)
        _store_outputs(model.graph, node, runs)
    for node in model.graph:
        if node.op_type == "Reshape":
            _copy_batch(model.graph, node, runs)
        elif node.op_type == "Resize":
            _scale_by_whole_numbers(model.graph, node, runs)


def _runs(graph: ir.Graph, images: ir.Value) -> Runs:
    assert images.shape is not None
    batch = images.shape[0]
    if isinstance(batch, int):
        return (follow(graph, images, batch),)
    try:
        runs = tuple(follow(graph, images, number) for number in BATCHES)
    except ModelError:
        runs = ()
    if runs and _is_batched([run[graph.outputs[0]].shape for run in runs]):
        return runs
    images.shape = ir.Shape([1, *images.shape[1:]])
    return (follow(graph, images, 1),)


def _is_batched(shapes: Sequence[Sequence[int | None] | None]) -> bool:
    return all(
        shape is None or tuple(shape[:1]) in ((batch,), (None,))
        for shape, batch in zip(shapes, BATCHES, strict=True)
    )


def _shape(found: Sequence[Known], images: ir.Value) -> ir.Shape | None:
    assert images.shape is not None
    shapes = [x.shape for x in found]
    if None in shapes or len({len(shape) for shape in shapes if shape is not None}) != 1:
        return None
    dims: list[int | str | None] = []
    for sizes in zip(*(shape for shape in shapes if shape is not None), strict=True):
        same = len(set(sizes)) == 1
        dims.append(sizes[0] if same else str(images.shape[0]) if sizes == BATCHES else None)
    return ir.Shape(dims)


def _store_outputs(graph: ir.Graph, node: ir.Node, runs: Runs) -> None:
    """Initializers for the outputs, if all are the same in every run."""
    contents = [_constant([run[value] for run in runs]) for value in node.outputs]
    stored = [content for content in contents if content is not None]
    if len(stored) < len(contents) or any(value.is_graph_output() for value in node.outputs):
        return
    for value, content in zip(node.outputs, stored, strict=True):
        value.replace_all_uses_with(store(graph, str(value.name), content))
    graph.remove(node, safe=True)


def _constant(found: Sequence[Known]) -> Array | None:
    first = found[0].content
    if first is None:
        return None
    same = all(
        x.content is not None
        and x.content.shape == first.shape
        and x.content.tobytes() == first.tobytes()
        for x in found[1:]
    )
    return first if same else None


def _contents(value: ir.Value | None, runs: Runs) -> list[Array]:
    """The content in every run of a value that depends on the batch, else nothing."""
    if value is None or value.const_value is not None:
        return []
    found = [run[value].content for run in runs if value in run]
    contents = [x for x in found if x is not None]
    return contents if len(contents) == len(found) else []


def _copy_batch(graph: ir.Graph, node: ir.Node, runs: Runs) -> None:
    """A stored shape for a Reshape whose shape was computed for the sake of the batch."""
    x = node.inputs[0]
    contents = _contents(node.inputs[1], runs)
    if len(contents) < 2 or x is None or node.attributes.get_int("allowzero"):
        return
    wanted: list[int] = []
    for index, sizes in enumerate(zip(*(c.tolist() for c in contents), strict=True)):
        before = [run[x].shape if x in run else None for run in runs]
        copied = all(
            shape is not None and index < len(shape) and shape[index] == size
            for shape, size in zip(before, sizes, strict=True)
        )
        same = len(set(sizes)) == 1
        wanted.append(sizes[0] if same else 0 if copied else -1)
    if wanted.count(-1) <= 1:
        shape = store(graph, f"{node.name}.shape", np.array(wanted, np.int64))
        node.replace_input_with(1, shape)


def _scale_by_whole_numbers(graph: ir.Graph, node: ir.Node, runs: Runs) -> None:
    """Factors for a Resize whose sizes were computed, if they are whole."""
    x = node.inputs[0]
    if len(node.inputs) < 4 or x is None or x.shape is None:
        return
    contents = _contents(node.inputs[3], runs)
    now = x.shape[2:]
    if not contents or len(x.shape) != 4 or not all(isinstance(n, int) and n for n in now):
        return
    wanted = {tuple(content.tolist()[2:]) for content in contents}
    if len(wanted) != 1:
        return
    factors = [after / int(n) for after, n in zip(*wanted, now, strict=True)]
    if all(factor >= 1 and factor.is_integer() for factor in factors):
        scales = np.array([1, 1, *factors], np.float32)
        node.replace_input_with(2, store(graph, f"{node.name}.scales", scales))
        node.resize_inputs(3)
