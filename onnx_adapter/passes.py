"""The passes that bring a graph into detq's form, in order."""

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from detq.errors import ModelError
from onnx_adapter.activations import whole_activations
from onnx_adapter.fold import fold
from onnx_adapter.load import damaged, name_all
from onnx_adapter.opset import one_opset

Pass = Callable[[ir.Model], object]


def forget_shapes(model: ir.Model) -> None:
    """What the file says about shapes in between may be for another image size, or wrong."""
    for node in model.graph:
        for value in node.outputs:
            value.shape, value.type = None, None


def float32_throughout(model: ir.Model) -> None:
    """A graph of half precision in the precision that everything else is defined in."""
    half = ir.DataType.FLOAT16
    for value in model.graph.initializers.values():
        if value.dtype == half and value.const_value is not None:
            array = value.const_value.numpy().astype("float32")
            value.const_value = ir.tensor(array, name=value.name)
            value.dtype = ir.DataType.FLOAT
    for value in model.graph.inputs:
        if value.dtype == half:
            value.dtype = ir.DataType.FLOAT
    for node in model.graph:
        if node.op_type == "Cast" and node.attributes.get_int("to") == half:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT)
        filled = node.attributes.get_tensor("value")
        if filled is not None and filled.dtype == half:
            array = filled.numpy().astype("float32")
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array))


def fold_shapes_and_constants(model: ir.Model) -> None:
    """``fold``, for the input that holds the images."""
    fold(model, next(x for x in model.graph.inputs if not x.is_initializer()))


def drop_idle_casts(model: ir.Model) -> None:
    """Casts from a type to itself, left over from half: they would hold a run in float64 back."""
    for node in model.graph:
        x = node.inputs[0] if node.op_type == "Cast" else None
        if x is not None and x.dtype == node.attributes.get_int("to"):
            node.op_type = "Identity"
            node.attributes.clear()


PASSES: Sequence[Pass] = (
    common.RemoveInitializersFromInputsPass(),
    common.RemoveUnusedNodesPass(),
    forget_shapes,
    float32_throughout,
    fold_shapes_and_constants,
    drop_idle_casts,
    # Behind the folding: an identity of shared weights holds the name of the second user.
    common.IdentityEliminationPass(),
    common.RemoveUnusedNodesPass(),
    one_opset,
    whole_activations,
    common.RemoveUnusedNodesPass(),
    common.RemoveUnusedOpsetsPass(),
    common.TopologicalSortPass(),
    name_all,
)


def normalize(model: ir.Model, path: Path) -> None:
    """Run ``PASSES`` on a graph whose input has its image size.

    Args:
        model: changed.
        path: for errors.

    Raises:
        InputError: a pass of onnx-ir stumbles over the graph.
        ModelError: the graph is not consistent.
    """
    for step in PASSES:
        if isinstance(step, ir.passes.PassBase):
            _apply_theirs(step, model, path)
        else:
            _apply_ours(step, model, path)


def _apply_ours(step: Pass, model: ir.Model, path: Path) -> None:
    try:
        step(model)
    except ModelError as error:  # it knows the node, not the file
        where = f"{path} {error.where}".strip()
        raise type(error)(error.what, where=where, hint=error.hint) from error


def _apply_theirs(step: ir.passes.PassBase, model: ir.Model, path: Path) -> None:
    try:
        step(model)
    except Exception as error:  # they check their promises, not the file
        raise damaged(path, error) from error
