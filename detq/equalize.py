"""Channel-wise scales for free: every channel of a rounded tensor brought to the same range.

One scale serves a tensor badly if its channels differ. A positive factor ``r_c`` per channel
moves the difference into the weights, where every output channel has its own scale (RepQuant's
reparameterization, arXiv 2402.05628, in its symmetric form for convolutions)::

    r_c      = (R_c / max R) ^ balance        R_c: largest magnitude seen in channel c
    x'_c     = x_c / r_c                      what is rounded now
    V'[o, c] = V[o, c] r_c                    weights of the layers that read it

The producer takes ``1 / r``: a convolution in its weights and bias, also through a ReLU,
because ``ReLU(y / r) = ReLU(y) / r``. Behind any other function a multiplication per channel
stays in the graph. Pools, nearest resizing and concatenation hand factors through, so tensors
that share a scale still share it. The float function is unchanged, which is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from detq.channel_factors import (
    HOMOGENEOUS,
    Factors,
    channel_factors,
    groups_of,
    largest_magnitudes,
    originals,
    scaled_inputs,
    spread,
    takers,
    through,
)
from detq.graph.build import BLOCK, KIND, STAGE
from detq.graph.slices import values_by_name
from detq.graph.stored import store
from detq.model import FloatModel
from detq.placement.points import copies
from detq.plan import EVENED, Placement, QuantPoint
from detq.stats import TensorStats
from detq.transforms.equivalence import check_equivalent
from detq.transforms.merge import fold_bn

TOLERANCE = 1e-5  # of the largest output; weights are stored as float32


@dataclass(frozen=True, slots=True)
class Equalized:
    """The same network with even channels.

    Attributes:
        model: to be placed and observed anew.
        groups: tie groups that were changed.
        multiplications: per-channel factors that no convolution could take.
    """

    model: FloatModel
    groups: tuple[str, ...]
    multiplications: tuple[str, ...]


def equalize(
    model: FloatModel,
    placement: Placement,
    stats: Mapping[str, TensorStats],
    *,
    balance: float = 1.0,
    least_spread: float = 2.0,
    balances: Mapping[str, float] | None = None,
    ranges: Mapping[str, Factors] | None = None,
) -> Equalized:
    """Even out the channels of every tie group whose readers can take the factors.

    Args:
        model: merged float network.
        placement: made for it; says which tensors are rounded and which share a scale.
        stats: value name → what was seen, channels apart.
        balance: 0 leaves everything to the tensors, 1 to the weights.
        least_spread: groups whose largest channel is no more than so many times the median
            one are left alone.
        balances: tie group → its balance, as measured (:mod:`detq.channel_trial`); groups that
            are not in it are left alone. In place of ``balance`` and ``least_spread``.
        ranges: value name → float64 [C], range of each channel; the largest magnitudes seen if
            not given.

    Raises:
        NotEquivalentError: the network computes something else afterwards.
    """
    copy = model.graph.clone()
    graph = copy.graph
    values = values_by_name(graph)
    of_channels = largest_magnitudes(stats) if ranges is None else ranges
    changed = []
    for group in takers(values, placement):
        points = placement.groups[group]
        tensors = originals(points, values)
        wide = spread(tensors, of_channels)
        chosen = balance if wide > least_spread else None
        if balances is not None:
            chosen = balances.get(group) if wide else None
        if chosen is not None:
            _apply(graph, points, values, channel_factors(tensors, of_channels, chosen))
            changed.append(group)
    _push_up(graph)
    evened = fold_bn(FloatModel(copy, model.detector))
    check_equivalent(
        model,
        evened,
        what="evening out channels",
        field="channel_wise",
        tolerance=TOLERANCE,
    )
    left = (str(n.name) for n in evened.graph.graph if str(n.name).endswith(EVENED))
    return Equalized(evened, tuple(changed), tuple(left))


def _apply(
    graph: ir.Graph,
    points: tuple[QuantPoint, ...],
    values: Mapping[str, ir.Value],
    factors: Mapping[ir.Value, Factors],
) -> None:
    known = dict(factors)
    for point in points:
        value = values[point.value]
        factor = through(value, known)
        for node in [n for n in value.consumers() if n.name in point.consumers]:
            if not copies(node):
                _scale_weights(graph, node, factor)
    for value, factor in factors.items():
        point = next(p for p in points if p.value == value.name)
        _insert(graph, value, factor, point.consumers)


def _scale_weights(graph: ir.Graph, node: ir.Node, factor: Factors) -> None:
    """Multiply the input channels of a layer's weights."""
    stored = node.inputs[1]
    if stored is None or stored.const_value is None:
        raise AssertionError(f"weights of {node.name} are not stored")
    weight = np.asarray(stored.const_value.numpy(), np.float64)
    _replace_weights(graph, node, 1, scaled_inputs(node, weight, factor))


def _replace_weights(graph: ir.Graph, node: ir.Node, index: int, array: Factors) -> None:
    old = node.inputs[index]
    if old is None:
        raise AssertionError(f"{node.name} has no input {index}")
    if len(old.uses()) == 1:
        old.const_value = ir.tensor(array.astype(np.float32), name=old.name)
        return
    name = f"{node.name}.weight{EVENED}"
    node.replace_input_with(index, store(graph, name, array.astype(np.float32)))


def _insert(graph: ir.Graph, value: ir.Value, factor: Factors, readers: tuple[str, ...]) -> None:
    producer = value.producer()
    if producer is None:
        raise AssertionError("a graph input has no factor")
    name = f"{value.name}{EVENED}"
    inverse = store(graph, f"{name}.factor", (1 / factor).reshape(1, -1, 1, 1).astype(np.float32))
    marks = {k: producer.metadata_props[k] for k in (BLOCK, KIND, STAGE)
             if k in producer.metadata_props}  # fmt: skip
    mul = ir.Node(
        "", "Mul", [value, inverse],
        outputs=[ir.Value(name=name, shape=value.shape, type=value.type)],
        name=name, metadata_props=marks,
    )  # fmt: skip
    graph.insert_after(producer, mul)
    for node in [n for n in value.consumers() if n.name in readers]:
        for index, x in enumerate(node.inputs):
            if x is value:
                node.replace_input_with(index, mul.outputs[0])


def _push_up(graph: ir.Graph) -> None:
    """Move factors before a ReLU, and into a transposed convolution; folding does the rest."""
    for mul in [n for n in graph if str(n.name).endswith(EVENED)]:
        x, factor = mul.inputs[0], mul.inputs[1]
        producer = x.producer() if x is not None else None
        if x is None or factor is None or producer is None:
            raise AssertionError("a factor has an input")
        alone = len(x.uses()) == 1 and not x.is_graph_output()
        if alone and producer.op_type in HOMOGENEOUS and _folds(producer.inputs[0]):
            before = producer.inputs[0]
            mul.outputs[0].replace_all_uses_with(x)
            mul.replace_input_with(0, before)
            producer.replace_input_with(0, mul.outputs[0])
            graph.remove(mul)
            graph.insert_before(producer, mul)
        elif alone and producer.op_type == "ConvTranspose":
            _into_transposed(graph, producer, factor)
            mul.outputs[0].replace_all_uses_with(x)
            graph.remove(mul, safe=True)


def _folds(value: ir.Value | None) -> bool:
    if value is None or len(value.uses()) != 1 or value.is_graph_output():
        return False
    producer = value.producer()
    return producer is not None and producer.op_type == "Conv"


def _into_transposed(graph: ir.Graph, node: ir.Node, factor: ir.Value) -> None:
    if factor.const_value is None or node.inputs[1] is None:
        raise AssertionError(f"weights of {node.name} are not stored")
    inverse = np.asarray(factor.const_value.numpy(), np.float64).reshape(-1)
    stored = node.inputs[1].const_value
    if stored is None:
        raise AssertionError(f"weights of {node.name} are not stored")
    weight = np.asarray(stored.numpy(), np.float64)  # [in, out / groups, kh, kw]
    of_group = np.repeat(inverse.reshape(groups_of(node), -1), len(weight) // groups_of(node), 0)
    _replace_weights(graph, node, 1, weight * of_group[:, :, None, None])
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = node.inputs[2].const_value
        if bias is None:
            raise AssertionError(f"bias of {node.name} is not stored")
        _replace_weights(graph, node, 2, np.asarray(bias.numpy(), np.float64) * inverse)
