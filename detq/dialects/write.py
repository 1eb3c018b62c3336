"""The ONNX that leaves the house: batch, contract, recipe, target."""

import onnx_ir as ir

from detq import __version__
from detq.errors import InputError
from detq.graph.files import OURS, RECIPE, TARGET, VERSION, detector_metadata
from detq.model import FloatModel
from detq.quantized import QuantizedModel
from detq.target import Target


def write_float(model: FloatModel, *, batch: int | None = None, recipe: str = "") -> ir.Model:
    """The float model as a file that explains itself.

    Args:
        model: merged or not.
        batch: fixed batch size, or None for any.
        recipe: JSON of the choices that made it.

    Raises:
        InputError: the network is made for another batch size.
    """
    return _labelled(model.graph.clone(), model, "float", batch, recipe)


def write_quantized(
    model: QuantizedModel, target: Target, *, batch: int | None = None, recipe: str = ""
) -> ir.Model:
    """The quantized model for one target; ``W_int`` and scales are the model's own bits."""
    note = f"{target.name}: {target.note}" if target.note else target.name
    return _labelled(model.graph.clone(), model, note, batch, recipe)


def _labelled(
    copy: ir.Model, model: FloatModel | QuantizedModel, target: str, batch: int | None, recipe: str
) -> ir.Model:
    if batch is not None:
        _fix_batch(copy.graph, batch)
    copy.producer_version = __version__
    for key in [key for key in copy.metadata_props if key.startswith(OURS)]:
        del copy.metadata_props[key]  # what others wrote stays: their programs read it
    copy.metadata_props.update(detector_metadata(model.detector))
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
