"""What lies behind the prediction convolutions: boxes and scores are made of them there."""

from collections.abc import Sequence
from dataclasses import dataclass

from detq.graph.stored import array_of
from onnx_adapter.flow import START, Flow

_CONVOLUTIONS = ("Conv", "ConvTranspose")
# Operators between a softmax over bins and the convolution that takes the mean of them.
_MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Identity")


@dataclass(frozen=True, slots=True)
class Decode:
    """The end of a detector, by numbers of nodes.

    Attributes:
        predictions: the last convolutions, in the order of the graph.
        nodes: everything behind them, up to the outputs.
    """

    predictions: Sequence[int]
    nodes: frozenset[int]


def find_decode(flow: Flow) -> Decode:
    """Go back from the outputs to the last convolutions.

    A convolution with stored weights behind a softmax is the mean of a distribution (DFL),
    not a prediction. What leads to another convolution is neither prediction nor decoding,
    even where it is an output too.
    """
    waiting = list(flow.ends)
    seen: set[int] = set()
    predictions: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node == START or node in seen or node in predictions:
            continue
        if _is_convolution(flow, node):
            predictions.add(node)
            continue
        seen.add(node)
        waiting += flow.before[node]
    convolutions = [n for n in range(len(flow.nodes)) if _is_convolution(flow, n)]
    network = flow.leading_to(before for n in convolutions for before in flow.before[n])
    return Decode(sorted(predictions - network), frozenset(seen - network))


def _is_convolution(flow: Flow, node: int) -> bool:
    return flow.nodes[node].op_type in _CONVOLUTIONS and not _is_mean_of_bins(flow, node)


def _is_mean_of_bins(flow: Flow, node: int) -> bool:
    weights = array_of(flow.nodes[node].inputs[1])
    if weights is None or weights.shape[0] != 1 or weights.shape[2:] != (1, 1):
        return False
    before = flow.before[node]
    while len(before) == 1 and before[0] != START:
        if flow.nodes[before[0]].op_type == "Softmax":
            return True
        if flow.nodes[before[0]].op_type not in _MOVING:
            return False
        before = flow.before[before[0]]
    return False
