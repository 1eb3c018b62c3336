"""Which layers become INT8; every layer with weights gets an answer and a reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import onnx_ir as ir

from detq.errors import RecipeError
from detq.graph.build import DECODE, STAGE
from detq.plan import Layer
from detq.target import Target

# Dimension of the weights with a scale each. TensorRT changed its mind on which dimension
# of a transposed convolution that is, so it gets one scale in all.
WEIGHTED: Mapping[str, int | None] = {"Conv": 0, "ConvTranspose": None}
_NO_NUMBERS = ("Shape", "Size")  # read of a tensor, but none of its numbers

# Channels that an INT8 tensor core takes at a time, and half of them.
CHANNELS, HALF_CHANNELS = 16, 8


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a layer becomes INT8.

    Attributes:
        node: the layer.
        target: for which consumer.
        float_layers: pattern of node names → reason to leave them float.
        predictions: layers whose output is boxes and scores.
        first: layers that read the images.
    """

    node: ir.Node
    target: Target
    float_layers: Mapping[str, str]
    predictions: frozenset[ir.Node]
    first: frozenset[ir.Node]


Rule: TypeAlias = Callable[[Question], "str | None"]


def decide_layers(
    graph: ir.Graph, float_layers: Mapping[str, str], target: Target
) -> tuple[Layer, ...]:
    """One ``Layer`` for every node with weights, in the order of the graph.

    Args:
        graph: float and merged.
        float_layers: pattern of node names (``*`` and ``?``) → reason to leave them float.
        target: what its arithmetic gains from, and its grid of weights.

    Raises:
        RecipeError: a pattern matches no layer.
    """
    nodes = [node for node in graph if node.op_type in WEIGHTED]
    _check_patterns(float_layers, nodes)
    predictions = frozenset(_prediction_layers(graph))
    first = frozenset(_first_layers(graph))
    layers = []
    for node in nodes:
        reason = _reason(Question(node, target, float_layers, predictions, first))
        axis = None if target.per_tensor_weights else WEIGHTED[node.op_type]
        layers.append(
            Layer(
                str(node.name),
                node.op_type,
                reason is None,
                reason or "weights are constant",
                target.weights,
                axis,
            )
        )
    return tuple(layers)


def _reason(question: Question) -> str | None:
    return next((reason for rule in RULES if (reason := rule(question)) is not None), None)


def float_by_recipe(asked: Question) -> str | None:
    """What the recipe leaves float."""
    for pattern, reason in asked.float_layers.items():
        if fnmatchcase(str(asked.node.name), pattern):
            return f"recipe: {reason}"
    return None


def float_decode(asked: Question) -> str | None:
    """Box arithmetic, with the projection of a distribution of distances."""
    decodes = asked.node.metadata_props.get(STAGE) == DECODE
    return "decoding of boxes is float" if decodes else None


def float_predictions(asked: Question) -> str | None:
    """The last layers."""
    if asked.node in asked.predictions and not asked.target.predictions:
        return "its output is boxes and scores, nothing averages its error out"
    return None


def float_computed_weights(asked: Question) -> str | None:
    """Weights that are no initializer."""
    weight = asked.node.inputs[1]
    computed = weight is None or weight.const_value is None
    return "its weights are computed, not stored" if computed else None


def float_first_layer(asked: Question) -> str | None:
    """The layer that reads the images, where the target gains nothing by it."""
    if asked.target.first_layer or asked.node not in asked.first:
        return None
    return f"{asked.target.name}: it reads the images, 3 channels gain nothing"


def float_transposed(asked: Question) -> str | None:
    """Transposed convolutions, where the target has no INT8 kernel for them."""
    if asked.node.op_type != "ConvTranspose" or asked.target.transposed != "float":
        return None
    return f"{asked.target.name}: no INT8 kernel for transposed convolutions"


def float_narrow(asked: Question) -> str | None:
    """Convolutions with too few channels for tensor cores, as nvidia-modelopt leaves them.

    Source: nvidia-modelopt, its exclusion of small convolutions in ONNX graphs.
    """
    weight = asked.node.inputs[1]
    if not asked.target.tensor_cores or asked.node.op_type != "Conv" or weight is None:
        return None
    if weight.shape is None:
        raise AssertionError(f"weights of {asked.node.name} have no shape")
    made, read, *kernel = (int(n) for n in weight.shape.numpy())
    if made >= CHANNELS and read >= CHANNELS:
        return None
    if asked.node.attributes.get_int("group", 1) == 1:
        whole = made % HALF_CHANNELS == 0 or read % HALF_CHANNELS == 0
        wide = asked.node in asked.first or max(made, read) >= CHANNELS
        gains = whole and wide and len(set(kernel)) == 1
    else:
        gains = made % HALF_CHANNELS == 0 and min(kernel) >= 3
    if gains:
        return None
    return f"{asked.target.name}: {made} x {read} channels are too few for tensor cores"


RULES: tuple[Rule, ...] = (
    float_by_recipe,
    float_decode,
    float_predictions,
    float_computed_weights,
    float_first_layer,
    float_transposed,
    float_narrow,
)
"""In this order; the first that has a reason answers."""


def _first_layers(graph: ir.Graph) -> set[ir.Node]:
    """Weighted nodes with no other between them and the images."""
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    waiting = [reader for value in graph.inputs for reader in value.consumers()]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op_type in WEIGHTED:
            found.add(node)
            continue
        waiting += [reader for y in node.outputs for reader in y.consumers()]
    return found


def _prediction_layers(graph: ir.Graph) -> set[ir.Node]:
    """Weighted nodes with no other between them and the output, decoding left out."""
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    waiting = [value.producer() for value in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node.op_type in _NO_NUMBERS:
            continue
        seen.add(node)
        if node.op_type in WEIGHTED and node.metadata_props.get(STAGE) != DECODE:
            found.add(node)
            continue
        waiting += [x.producer() for x in node.inputs if x is not None]
    return found


def _check_patterns(patterns: Mapping[str, str], nodes: list[ir.Node]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(str(node.name), pattern) for node in nodes):
            some = ", ".join(str(node.name) for node in nodes[:2] + nodes[-2:])
            raise RecipeError(
                f"pattern {pattern!r} matches no layer",
                where="$.float_layers",
                hint=f"layers are called like {some}; detq inspect lists them",
            )
