"""Every operator in the form that it has in the opset of ``detq.graph.build``.

Most definitions only learned new element types between opset 11 and 21; the tables at the
end name the others. ONNX's own converter does not come down from opset 18, and forgets
what is written on the nodes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from detq.errors import UnsupportedOperatorError
from detq.graph.build import IR_VERSION, OPSET
from detq.graph.stored import array_of, store
from onnx_adapter.values import is_whole


def one_opset(model: ir.Model) -> None:
    """Bring a graph to ``OPSET``; a newer one stays as it is if an operator has no such form.

    Args:
        model: with shapes; changed.

    Raises:
        UnsupportedOperatorError: an operator meant something in an old opset that it cannot
            say any more.
    """
    version = model.opset_imports[""]
    changed = [node for node in model.graph if node.domain == "" and _is_other(node, version)]
    if version > OPSET and not all(_has_older_form(node, version) for node in changed):
        imports = [onnx.helper.make_opsetid("", version)]
        model.ir_version = onnx.helper.find_min_ir_version_for(imports)
        return
    table = _UP if version < OPSET else _DOWN
    for node in changed:
        rewrite = table.get(node.op_type)
        if rewrite is not None:
            rewrite(node)
        _drop_new_attributes(node)
    model.opset_imports[""] = OPSET
    model.ir_version = IR_VERSION


def _schema(node: ir.Node, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError:
        return None


def _is_other(node: ir.Node, version: int) -> bool:
    """Whether its definition is not the one of ``OPSET``."""
    here, there = _schema(node, version), _schema(node, OPSET)
    return here is not None and (there is None or here.since_version != there.since_version)


def _has_older_form(node: ir.Node, version: int) -> bool:
    here, there = _schema(node, version), _schema(node, OPSET)
    if node.op_type in _DOWN:
        return _CONDITIONS.get(node.op_type, _axes_are_stored)(node)
    if here is None or there is None or node.op_type in _OTHER_MEANING:
        return False
    added = set(node.attributes) - set(there.attributes)
    return len(node.inputs) <= len(there.inputs) and all(
        _says_nothing(node.attributes[name], here) for name in added
    )


def _says_nothing(attribute: ir.Attr, schema: onnx.defs.OpSchema) -> bool:
    """Whether an attribute has the value it has when it is left out."""
    if attribute.name == "dilations":
        return set(attribute.as_ints()) <= {1}
    default = schema.attributes[attribute.name].default_value
    value = onnx.helper.get_attribute_value(default) if default.name else None
    return bool((value.decode() if isinstance(value, bytes) else value) == attribute.value)


def _drop_new_attributes(node: ir.Node) -> None:
    schema = _schema(node, OPSET)
    for name in [] if schema is None else set(node.attributes) - set(schema.attributes):
        del node.attributes[name]


def _axes_are_stored(node: ir.Node) -> bool:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None:
        return not node.attributes.get_int("noop_with_empty_axes", 0)
    return array_of(axes) is not None


def _parts_are_known(node: ir.Node) -> bool:
    axis = node.attributes.get_int("axis", 0)
    return len(node.inputs) > 1 or all(is_whole(y, axis) for y in node.outputs)


def _axes_to_attribute(node: ir.Node) -> None:
    axes = array_of(node.inputs[1]) if len(node.inputs) > 1 else None
    node.resize_inputs(1)
    if axes is not None and axes.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes.reshape(-1).tolist())


def _parts_to_input(node: ir.Node) -> None:
    axis = node.attributes.get_int("axis", 0)
    if len(node.inputs) < 2:
        _second_input(node, [y.shape[axis] for y in node.outputs if y.shape is not None])


def _mish_in_parts(node: ir.Node) -> None:
    """``x * tanh(softplus(x))`` for an operator that is younger than the opset."""
    graph, x = node.graph, node.inputs[0]
    assert graph is not None
    parts = [ir.Node("", kind, [x], name=f"{node.name}.{kind}") for kind in ("Softplus", "Tanh")]
    graph.insert_before(node, parts)
    parts[1].replace_input_with(0, parts[0].outputs[0])
    for part in parts:
        part.outputs[0].name = f"{part.name}.output"
        part.outputs[0].shape, part.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    node.op_type = "Mul"
    node.resize_inputs(2)
    node.replace_input_with(1, parts[1].outputs[0])


def _attribute_to_input(name: str) -> Callable[[ir.Node], None]:
    def rewrite(node: ir.Node) -> None:
        numbers = node.attributes.get_ints(name)
        if numbers is not None:
            _second_input(node, numbers)

    return rewrite


def _second_input(node: ir.Node, numbers: Sequence[Any]) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    node.resize_inputs(2)
    node.replace_input_with(1, store(graph, f"{node.name}.second", np.array(numbers, np.int64)))


def _along_one_axis(node: ir.Node) -> None:
    """Before opset 13 a softmax went over all dimensions from ``axis`` on."""
    rank = len(node.outputs[0].shape or ())
    axis = node.attributes.get_int("axis", 1)
    axis += rank if axis < 0 else 0
    behind = (node.outputs[0].shape or ())[axis + 1 :]
    if not rank or any(n != 1 for n in behind):
        raise UnsupportedOperatorError(
            f"{node.op_type} over several dimensions", where=str(node.name),
            hint="export it with opset 13 or later",
        )  # fmt: skip
    node.attributes["axis"] = ir.AttrInt64("axis", axis)


def _leave_empty_out(node: ir.Node) -> None:
    """Opset 11 wrote empty tensors for the inputs of a Resize that are not meant."""
    for index, value in enumerate(node.inputs[1:], 1):
        content = array_of(value)
        if content is not None and not content.size:
            node.replace_input_with(index, None)


_axes_to_input = _attribute_to_input("axes")
_UP: Mapping[str, Callable[[ir.Node], None]] = {
    "ReduceSum": _axes_to_input,
    "Squeeze": _axes_to_input,
    "Unsqueeze": _axes_to_input,
    "Split": _attribute_to_input("split"),
    "Resize": _leave_empty_out,
    "Softmax": _along_one_axis,
    "LogSoftmax": _along_one_axis,
    "Hardmax": _along_one_axis,
}
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_DOWN: Mapping[str, Callable[[ir.Node], None]] = {
    **{f"Reduce{name}": _axes_to_attribute for name in _REDUCTIONS},
    "Split": _parts_to_input,
    "Mish": _mish_in_parts,
}
_CONDITIONS: Mapping[str, Callable[[ir.Node], bool]] = {
    "Split": _parts_are_known,
    "Mish": lambda node: True,
}
# Operators whose attribute values were renamed, or have other consequences.
_OTHER_MEANING = frozenset({"DFT", "GridSample", "GroupNormalization"})
