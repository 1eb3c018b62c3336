"""The operator set that a file is written in.

Between opset 13 and 24 most definitions only learned new element types and attributes. The
tables at the end name those that changed more.
"""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from detq.errors import TargetError
from detq.graph.stored import array_of, store
from detq.target import Target


def known_operators(model: ir.Model, target: Target) -> None:
    """Write operators that the target's parser does not know as several that it does.

    Args:
        model: changed.
        target: whose parser it is.

    Raises:
        TargetError: an operator cannot be written otherwise.
    """
    if not target.operators:
        return
    for node in [node for node in model.graph if node.op_type in _PARTS]:
        if node.op_type not in target.operators or _since(node, target.opset) is None:
            _PARTS[node.op_type](node)
    foreign = [n for n in model.graph if n.domain or n.op_type not in target.operators]
    if foreign:
        named = ", ".join(f"{n.op_type} {n.name}" for n in foreign[:3])
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise TargetError(
            f"its parser does not know {named}{more}",
            where=target.name,
            hint="replace these operators in the network, or take a later target",
        )


def lowest_opset(model: ir.Model, target: Target) -> None:
    """Bring a graph to the target's opset, or to the next one that has all its operators.

    Args:
        model: changed.
        target: its opset is the least, its ceiling the most.

    Raises:
        TargetError: no opset in between has all operators of the graph.
    """
    now = model.opset_imports[""]
    nodes = [node for node in model.graph if not node.domain]
    wanted = next(
        (
            version
            for version in range(target.opset, target.opset_ceiling + 1)
            if version == now or all(_can_be(node, now, version) for node in nodes)
        ),
        None,
    )
    if wanted is None:
        late = [n for n in nodes if not _can_be(n, now, target.opset_ceiling)] or nodes
        raise TargetError(
            f"{late[0].op_type} {late[0].name} of opset {now} cannot be written in opset "
            f"{target.opset} to {target.opset_ceiling}",
            where=target.name,
            hint="export the network with an older opset, or take a later target",
        )
    for node in nodes:
        _rewrite(node, now, wanted)
    model.opset_imports[""] = wanted
    imports = [onnx.helper.make_opsetid(domain, v) for domain, v in model.opset_imports.items()]
    model.ir_version = onnx.helper.find_min_ir_version_for(imports, ignore_unknown=True)


def _since(node: ir.Node, version: int) -> int | None:
    schema = _schema(node, version)
    return None if schema is None else schema.since_version


def _schema(node: ir.Node, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError:
        return None


def _can_be(node: ir.Node, now: int, wanted: int) -> bool:
    """Whether an operator can say the same in another opset."""
    here, there = _schema(node, now), _schema(node, wanted)
    if here is None or there is None:
        return False
    if here.since_version == there.since_version:
        return True
    if wanted > now:
        return True  # the table knows what has to be written otherwise
    if node.op_type in _AXES_BECAME_INPUT and _crosses(18, wanted, now):
        return len(node.inputs) < 2 or array_of(node.inputs[1]) is not None
    added = [a for name, a in node.attributes.items() if name not in there.attributes]
    return len(node.inputs) <= len(there.inputs) and all(_is_default(a, here) for a in added)


def _rewrite(node: ir.Node, now: int, wanted: int) -> None:
    if _crosses(18, now, wanted) and node.op_type in _AXES_BECAME_INPUT:
        _axes_to_input(node)
    elif _crosses(18, now, wanted) and node.op_type == "Split" and len(node.inputs) < 2:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))
    elif _crosses(18, wanted, now) and node.op_type in _AXES_BECAME_INPUT:
        _axes_to_attribute(node)
    schema = _schema(node, wanted)
    for name in [] if schema is None else set(node.attributes) - set(schema.attributes):
        del node.attributes[name]


def _crosses(version: int, low: int, high: int) -> bool:
    return low < version <= high


def _is_default(attribute: ir.Attr, schema: onnx.defs.OpSchema) -> bool:
    """Whether an attribute says what is true without it as well."""
    default = schema.attributes[attribute.name].default_value
    if not default.name:
        return set(np.ravel(attribute.value)) <= {1}  # dilations
    value = onnx.helper.get_attribute_value(default)
    return bool((value.decode() if isinstance(value, bytes) else value) == attribute.value)


def _axes_to_input(node: ir.Node) -> None:
    axes = node.attributes.get_ints("axes")
    if axes is None:
        return
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    node.resize_inputs(2)
    node.replace_input_with(1, store(graph, f"{node.name}.axes", np.array(axes, np.int64)))


def _axes_to_attribute(node: ir.Node) -> None:
    axes = array_of(node.inputs[1]) if len(node.inputs) > 1 else None
    node.resize_inputs(1)
    if axes is not None and axes.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes.reshape(-1).tolist())


def _hard_swish_in_parts(node: ir.Node) -> None:
    """``x * HardSigmoid(x)``, as ONNX defines it."""
    graph, x, y = node.graph, node.inputs[0], node.outputs[0]
    assert isinstance(graph, ir.Graph)
    gate = ir.Node(
        "",
        "HardSigmoid",
        [x],
        [ir.AttrFloat32("alpha", 1 / 6), ir.AttrFloat32("beta", 0.5)],
        name=f"{node.name}.gate",
        metadata_props=dict(node.metadata_props),
    )
    gate.outputs[0].name = gate.name
    gate.outputs[0].shape, gate.outputs[0].type = y.shape, y.type
    graph.insert_before(node, gate)
    node.op_type = "Mul"
    node.resize_inputs(2)
    node.replace_input_with(1, gate.outputs[0])


_AXES_BECAME_INPUT: Collection[str] = frozenset(
    f"Reduce{kind}"
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
_PARTS: Mapping[str, Callable[[ir.Node], None]] = {"HardSwish": _hard_swish_in_parts}
