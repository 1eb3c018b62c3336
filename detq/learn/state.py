"""The parameters of a Q/DQ graph while they are learned, and the graph they give in the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir
import torch
from torch import Tensor

from detq.graph.execute import compile_slice, parameters
from detq.learn.fold import fold_bias, fold_gain
from detq.learn.int8_layers import Int8Layer, clip_ends, int8_layers, with_own_biases
from detq.quantized import QuantizedModel


@dataclass
class State:
    """A quantized model whose initializers may change; its structure does not.

    Attributes:
        model: as it came, every INT8 layer with a bias of its own.
        params: initializers by name; what was learned takes the place of what was there.
        layers: the INT8 layers.
        learned: names that differ from the model's.
    """

    model: QuantizedModel
    params: dict[str, Tensor]
    layers: tuple[Int8Layer, ...]
    learned: set[str] = field(default_factory=set)

    def put(self, found: Mapping[str, Tensor]) -> None:
        """Take over some parameters."""
        for name, tensor in found.items():
            like = self.params[name]
            self.params[name] = tensor.detach().to(like.device, like.dtype).reshape(like.shape)
            self.learned.add(name)

    def result(self) -> QuantizedModel:
        """The model with what was learned."""
        copy = replace(self.model, graph=self.model.graph.clone())
        initializers = copy.graph.graph.initializers
        for name in sorted(self.learned):
            array = self.params[name].cpu().numpy()
            initializers[name].const_value = ir.tensor(array, name=name)
        return copy


def state_of(model: QuantizedModel, device: str = "cpu") -> State:
    """The state to start from; the argument is left alone."""
    own = with_own_biases(model)
    graph = own.graph.graph
    program = compile_slice(graph, [str(graph.inputs[0].name)])
    return State(own, parameters(program, device=device), int8_layers(own))


def affine(state: State, layer: Int8Layer, gain: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """Parameters of a layer with ``gain u + shift`` folded into it, both parts of a pair.

    Args:
        state: holds the layer's parameters.
        layer: one of the state's.
        gain: [channels], or a number for a layer with one weight scale.
        shift: [channels].
    """
    found: dict[str, Tensor] = {}
    for i, part in enumerate(layer.parts):
        codes, scale = state.params[part.codes], state.params[part.scale]
        found[part.codes], found[part.scale] = fold_gain(codes, scale, gain, part.axis)
        if part.bias is not None:
            own = shift if i == 0 else torch.zeros_like(shift)
            found[part.bias] = fold_bias(state.params[part.bias], gain, own)
    return found


def activation_scale(state: State, name: str, scale: Tensor) -> dict[str, Tensor]:
    """A scale that a tie group shares, with the ends of the Clips that follow it."""
    ends = clip_ends(state.model.placement)[name]
    return {name: scale, **{end: scale * integer for end, integer in ends}}
