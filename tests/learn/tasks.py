"""Small quantized networks to learn on, and what must not change of them."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from detq.learn import Task
from detq.model import FloatModel
from detq.numerics import Grid
from detq.quantized import QuantizedModel
from detq.recipe import Abc, AdaRound, BiasCorrection, LearnMethod, QPRep, QPRepLearned
from detq.target import PLAIN, Target
from tests.steps import images, merged, quantized

SIX_BITS = Target("six", weights=Grid(6, narrow=True), activation_bits=6)
CPU = Target(
    "cpu", unsigned_activations=True, shifted_activations=True, weights=Grid(7, narrow=True)
)
PER_TENSOR = Target("per tensor", per_tensor_weights=True)

# Enough to change something, no more.
FEW = {"steps": 12, "batch": 2}
METHODS: tuple[LearnMethod, ...] = (
    QPRep(),
    BiasCorrection(),
    QPRepLearned(**FEW),
    AdaRound(steps=40, batch=2),
    Abc(**FEW),
    Abc(**FEW, rounding=True, joint=True, metric="mse", tail="quantized"),
    Abc(**FEW, scope="stage", metric="huber", confidence=True, rounding=False),
    Abc(**FEW, scope="block", scales=False, gain=False),
)


def task(name: str = "repvgg", target: Target = PLAIN, count: int = 4, **options: object) -> Task:
    model = merged(name)
    return Task(quantized(model, target), model, images(model, count), **options)  # type: ignore[arg-type]


def initializers(model: QuantizedModel | FloatModel) -> dict[str, np.ndarray]:
    found = {}
    for name, value in model.graph.graph.initializers.items():
        assert value.const_value is not None
        found[name] = value.const_value.numpy().copy()
    return found


def as_bytes(model: QuantizedModel | FloatModel) -> Mapping[str, bytes]:
    return {name: array.tobytes() for name, array in initializers(model).items()}


def structure(graph: ir.Graph) -> list[tuple[object, ...]]:
    return [
        (
            node.name,
            node.op_type,
            tuple(x and x.name for x in node.inputs),
            tuple(x.name for x in node.outputs),
            tuple((key, str(x.value)) for key, x in node.attributes.items()),
        )
        for node in graph
    ]
