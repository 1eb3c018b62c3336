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
from numpy.typing import NDArray

from detq.errors import NotEquivalentError
from detq.graph.build import BLOCK, KIND, STAGE
from detq.graph.slices import values_by_name
from detq.model import FloatModel
from detq.placement.points import copies
from detq.plan import Placement, QuantPoint
from detq.stats import TensorStats
from detq.transforms.merge import fold_bn

Factors = NDArray[np.float64]

SMALLEST = 1 / 64  # a channel that is nearly dead must not blow up its noise
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
) -> Equalized:
    """Even out the channels of every tie group whose readers can take the factors.

    Args:
        model: merged float network.
        placement: made for it; says which tensors are rounded and which share a scale.
        stats: value name → what was seen, channels apart.
        balance: 0 leaves everything to the tensors, 1 to the weights.
        least_spread: groups whose largest channel is no more than so many times the median
            one are left alone.

    Raises:
        NotEquivalentError: the network computes something else afterwards.
    """
    copy = model.graph.clone()
    graph = copy.graph
    values = values_by_name(graph)
    int8 = {layer.node for layer in placement.layers if layer.int8}
    changed = []
    for group, points in placement.groups.items():
        if not _can_take(points, values, int8):
            continue
        factors = _factors(points, values, stats, balance, least_spread)
        if factors:
            _apply(graph, points, values, factors)
            changed.append(group)
    _push_up(graph)
    evened = fold_bn(FloatModel(copy, model.detector))
    _check(model, evened)
    left = (str(n.name) for n in evened.graph.graph if str(n.name).endswith(_SUFFIX))
    return Equalized(evened, tuple(changed), tuple(left))


_SUFFIX = ".even"


def _can_take(
    points: tuple[QuantPoint, ...], values: Mapping[str, ir.Value], int8: set[str]
) -> bool:
    """Whether all that read the group are INT8 layers, or copy into the group."""
    for point in points:
        value = values[point.value]
        readers = {node for node in value.consumers() if node.name in point.consumers}
        if not all(copies(node) or _reads_as_input(node, value, int8) for node in readers):
            return False
        producer = value.producer()
        copied = producer is not None and copies(producer)
        if copied and (value.is_graph_output() or readers != set(value.consumers())):
            return False  # somebody would see the factors
    return True


def _reads_as_input(node: ir.Node, value: ir.Value, int8: set[str]) -> bool:
    return node.name in int8 and node.inputs[0] is value and value not in node.inputs[1:]


def _factors(
    points: tuple[QuantPoint, ...],
    values: Mapping[str, ir.Value],
    stats: Mapping[str, TensorStats],
    balance: float,
    least_spread: float,
) -> dict[ir.Value, Factors]:
    """Tensors of a group that are not copies → the factor of each channel; empty to skip."""
    ranges = {}
    for point in points:
        value = values[point.value]
        producer = value.producer()
        if producer is None:
            return {}  # the image is what it is
        if not copies(producer):
            seen = stats[point.value]
            ranges[value] = np.maximum(
                np.abs(seen.channel_minimum), np.abs(seen.channel_maximum)
            ).astype(np.float64)
    all_channels = np.concatenate(list(ranges.values()))
    largest = float(all_channels.max())
    alive = all_channels[all_channels > largest * 1e-6]
    if not alive.size or largest <= least_spread * float(np.median(alive)):
        return {}
    return {value: _factor(r / largest, balance) for value, r in ranges.items()}


def _factor(share: Factors, balance: float) -> Factors:
    dead = share <= 1e-6
    factor: Factors = np.clip(np.where(dead, 1.0, share) ** balance, SMALLEST, 1.0)
    # What the graph stores is float32, and both sides must mean the same number.
    return factor.astype(np.float32).astype(np.float64)


def _apply(
    graph: ir.Graph,
    points: tuple[QuantPoint, ...],
    values: Mapping[str, ir.Value],
    factors: Mapping[ir.Value, Factors],
) -> None:
    known = dict(factors)
    for point in points:
        value = values[point.value]
        factor = _through(value, known)
        for node in [n for n in value.consumers() if n.name in point.consumers]:
            if not copies(node):
                _scale_weights(graph, node, factor)
    for value, factor in factors.items():
        point = next(p for p in points if p.value == value.name)
        _insert(graph, value, factor, point.consumers)


def _through(value: ir.Value, known: dict[ir.Value, Factors]) -> Factors:
    """The factor of a tensor, through the copies that made it."""
    if value not in known:
        node = value.producer()
        if node is None:
            raise AssertionError(f"{value.name} is no copy")
        inputs = [x for x in node.inputs if x is not None and x.const_value is None]
        parts = [_through(x, known) for x in (inputs if node.op_type == "Concat" else inputs[:1])]
        known[value] = np.concatenate(parts)
    return known[value]


def _scale_weights(graph: ir.Graph, node: ir.Node, factor: Factors) -> None:
    """Multiply the input channels of a layer's weights."""
    stored = node.inputs[1]
    if stored is None or stored.const_value is None:
        raise AssertionError(f"weights of {node.name} are not stored")
    weight = np.asarray(stored.const_value.numpy(), np.float64)
    if node.op_type == "ConvTranspose":  # [in, out / groups, kh, kw]
        per_input = np.broadcast_to(factor[:, None], weight.shape[:2])
    else:  # [out, in / groups, kh, kw]
        per_input = np.repeat(factor.reshape(_groups(node), -1), len(weight) // _groups(node), 0)
    _replace_weights(graph, node, 1, weight * per_input[:, :, None, None])


def _groups(node: ir.Node) -> int:
    return int(node.attributes["group"].value) if "group" in node.attributes else 1


def _replace_weights(graph: ir.Graph, node: ir.Node, index: int, array: Factors) -> None:
    old = node.inputs[index]
    if old is None:
        raise AssertionError(f"{node.name} has no input {index}")
    if len(old.uses()) == 1:
        old.const_value = ir.tensor(array.astype(np.float32), name=old.name)
        return
    name = f"{node.name}.weight{_SUFFIX}"
    node.replace_input_with(index, _constant(graph, name, array))


def _constant(graph: ir.Graph, name: str, array: Factors) -> ir.Value:
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(array.astype(np.float32), name=name),
    )
    graph.register_initializer(value)
    return value


def _insert(graph: ir.Graph, value: ir.Value, factor: Factors, readers: tuple[str, ...]) -> None:
    producer = value.producer()
    if producer is None:
        raise AssertionError("a graph input has no factor")
    name = f"{value.name}{_SUFFIX}"
    inverse = _constant(graph, f"{name}.factor", (1 / factor).reshape(1, -1, 1, 1))
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
    for mul in [n for n in graph if str(n.name).endswith(_SUFFIX)]:
        x, factor = mul.inputs[0], mul.inputs[1]
        producer = x.producer() if x is not None else None
        if x is None or factor is None or producer is None:
            raise AssertionError("a factor has an input")
        alone = len(x.uses()) == 1 and not x.is_graph_output()
        if alone and producer.op_type == "Relu" and _folds(producer.inputs[0]):
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
    of_group = np.repeat(inverse.reshape(_groups(node), -1), len(weight) // _groups(node), 0)
    _replace_weights(graph, node, 1, weight * of_group[:, :, None, None])
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = node.inputs[2].const_value
        if bias is None:
            raise AssertionError(f"bias of {node.name} is not stored")
        _replace_weights(graph, node, 2, np.asarray(bias.numpy(), np.float64) * inverse)


def _check(before: FloatModel, after: FloatModel) -> None:
    """Both networks in float64 on one random image."""
    import torch

    from detq.graph.execute import compile_slice, execute, parameters

    image = torch.rand(1, 3, *before.detector.size, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(0))  # fmt: skip
    found = []
    for model in (before, after):
        graph = model.graph.graph
        name = str(graph.inputs[0].name)
        program = compile_slice(graph, [name])
        with torch.inference_mode():
            found.append(execute(program, {name: image}, parameters(program, dtype=torch.float64)))
    for name, wanted in found[0].items():
        difference = float((wanted - found[1][name]).abs().max())
        largest = float(wanted.abs().max())
        if not difference <= TOLERANCE * largest:
            raise NotEquivalentError(
                f"evening out channels changed the output by {difference:.3g} at a largest "
                f"value of {largest:.3g}",
                where=name,
                hint="leave channel_wise out of the recipe and report the model",
            )
