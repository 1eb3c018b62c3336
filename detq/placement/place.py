"""The rules in order; names and numbers of the network play no part."""

from collections.abc import Mapping

import onnx_ir as ir

from detq.graph.slices import values_by_name
from detq.model import FloatModel
from detq.numerics import Grid
from detq.placement.layers import decide_layers
from detq.placement.points import (
    is_never_negative,
    rounded_inputs,
    skip_inputs,
    spread_over_copies,
    tie,
)
from detq.plan import Placement, QuantPoint
from detq.target import Target


def place(
    model: FloatModel, target: Target, float_layers: Mapping[str, str] | None = None
) -> Placement:
    """Points and layers of a merged network for one target.

    The positions and tie groups are the same for every target; only grids differ.

    Args:
        model: merged; BatchNorm left in it is simply not quantized.
        target: says which grids its arithmetic has.
        float_layers: pattern of layer names → reason to leave them float.

    Raises:
        RecipeError: a pattern matches no layer.
    """
    graph = model.graph.graph
    layers = decide_layers(
        graph, float_layers or {}, target.weights, per_tensor=target.per_tensor_weights
    )
    points = rounded_inputs(layers, graph)
    rules = dict.fromkeys(points, "input of an INT8 layer")
    for value, reader in skip_inputs(graph, {x.node for x in layers if x.int8}):
        points.setdefault(value, set()).add(reader)
        rules.setdefault(value, "skip side of a residual Add")
    ties = spread_over_copies(points)
    order = [value for value in values_by_name(graph).values() if value in points]
    heads = tie(order, ties)
    unsigned = _unsigned_groups(heads) if target.unsigned_activations else set()
    positions = {node: i for i, node in enumerate(graph)}
    return Placement(
        tuple(
            QuantPoint(
                str(value.name),
                tuple(str(n.name) for n in sorted(points[value], key=positions.__getitem__)),
                Grid(target.activation_bits, signed=heads[value] not in unsigned),
                str(heads[value].name),
                rules.get(value, "copied into a rounded tensor"),
            )
            for value in order
        ),
        layers,
    )


def _unsigned_groups(heads: Mapping[ir.Value, ir.Value]) -> set[ir.Value]:
    known: dict[ir.Value, bool] = {}
    signed = {head for value, head in heads.items() if not is_never_negative(value, known)}
    return set(heads.values()) - signed
