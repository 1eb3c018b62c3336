"""Which tensors some choice of float layers would round."""

from dataclasses import replace

from detq.model import FloatModel
from detq.placement.kernels import outputs_of_any_target
from detq.placement.layers import decide_layers
from detq.placement.points import rounded_inputs, skip_inputs, spread_over_copies
from detq.target import PLAIN


def candidates(model: FloatModel) -> frozenset[str]:
    """Tensors whose statistics serve ``place`` with every target and every choice of float layers.

    The prediction layers are rounded by some. Leaving a layer float takes points away, but it
    can turn a residual round: then the side that was the main way is the skip, and is rounded
    instead.

    Args:
        model: as ``place`` takes it.
    """
    graph = model.graph.graph
    layers = decide_layers(graph, {}, replace(PLAIN, predictions=True))
    int8 = {layer.node for layer in layers if layer.int8}
    points = rounded_inputs(layers, graph)
    for left_float in ("", *int8):
        for value, _ in skip_inputs(graph, int8 - {left_float}):
            points.setdefault(value, set())
    spread_over_copies(points)
    for value in outputs_of_any_target(graph, layers):
        points.setdefault(value, set())
    return frozenset(str(value.name) for value in points)
