"""The ONNX that leaves the house: batch, contract, recipe, target."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import onnx_ir as ir

from detq import __version__
from detq.detection import Detector
from detq.dialects.float_weights import float_weights
from detq.dialects.grids import require_grids
from detq.dialects.half import half_body
from detq.dialects.opset import known_operators, lowest_opset
from detq.errors import InputError
from detq.graph.build import OPSET
from detq.graph.files import OURS, RECIPE, TARGET, VERSION, detector_metadata
from detq.model import FloatModel
from detq.quantized import QuantizedModel
from detq.target import Target

Pass: TypeAlias = Callable[[ir.Model], None]


def write_float(
    model: FloatModel,
    *,
    batch: int | None = None,
    recipe: str = "",
    target: Target | None = None,
    half: bool = False,
) -> ir.Model:
    """The float model as a file that explains itself.

    Args:
        model: merged or not.
        batch: fixed batch size, or None for any.
        recipe: JSON of the choices that made it.
        target: whose operators it is written in; those of the model if None.
        half: compute in float16, but for decoding; inputs and outputs stay float32.

    Raises:
        InputError: the network is made for another batch size.
        TargetError: it has an operator that the target's parser does not know.
    """
    copy = model.graph.clone()
    for write in () if target is None else _for_parser(target):
        write(copy)
    if half:
        half_body(copy)
    label = "float16" if half else "float"
    return _labelled(copy, model.detector, label, batch, recipe)


def write_quantized(
    model: QuantizedModel, target: Target, *, batch: int | None = None, recipe: str = ""
) -> ir.Model:
    """The quantized model for one target; ``W_int`` is the model's own, bit for bit.

    Scales are too, but rounded to float16 where the target's body is float16.

    Raises:
        InputError: the network is made for another batch size.
        TargetError: it was quantized for another grid, or has an operator that the target's
            parser does not know.
    """
    return write_dialect(model.graph, model.detector, target, batch=batch, recipe=recipe)


def write_dialect(
    graph: ir.Model, detector: Detector, target: Target, *, batch: int | None, recipe: str
) -> ir.Model:
    """A Q/DQ graph in the form that a target takes; see ``write_quantized``.

    Args:
        graph: float32 body, stored integers; unchanged.
        detector: its contract.
        target: the consumer.
        batch: fixed batch size, or None for any.
        recipe: JSON of the choices that made it.
    """
    require_grids(graph, target)
    note = f"{target.name}: {target.note}" if target.note else target.name
    copy = graph.clone()
    for write in passes(target):
        write(copy)
    return _labelled(copy, detector, note, batch, recipe)


def passes(target: Target) -> tuple[Pass, ...]:
    """What turns the Q/DQ graph into the target's dialect, in this order."""
    return (
        *(() if target.int8_initializers else (float_weights,)),
        *_for_parser(target),
        *((half_body,) if target.strongly_typed else ()),
    )


def _for_parser(target: Target) -> tuple[Pass, ...]:
    operators = (partial(known_operators, target=target),) if target.operators else ()
    opset = (partial(lowest_opset, target=target),) if target.opset != OPSET else ()
    return (*operators, *opset)


def _labelled(
    copy: ir.Model, detector: Detector, target: str, batch: int | None, recipe: str
) -> ir.Model:
    if batch is not None:
        _fix_batch(copy.graph, batch)
    copy.producer_version = __version__
    for key in [key for key in copy.metadata_props if key.startswith(OURS)]:
        del copy.metadata_props[key]  # what others wrote stays: their programs read it
    copy.metadata_props.update(detector_metadata(detector))
    copy.metadata_props[TARGET] = target
    copy.metadata_props[VERSION] = __version__
    if recipe:
        copy.metadata_props[RECIPE] = recipe
    return copy


def _fix_batch(graph: ir.Graph, batch: int) -> None:
    symbol = graph.inputs[0].shape[0] if graph.inputs[0].shape is not None else None
    if isinstance(symbol, int) and symbol != batch:
        raise InputError(
            f"the network takes {symbol} images at a time, not {batch}",
            where="--batch",
            hint="leave it out, or export the source for another batch",
        )
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is not None and len(value.shape) and value.shape[0] == symbol:
            value.shape = ir.Shape([batch, *value.shape[1:]])
