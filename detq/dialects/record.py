"""What was decided for one file, for people and programs."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from detq.dialects.boundaries import Boundaries, boundaries
from detq.dialects.explain import Answer, explain, int8_layers
from detq.placement.ties import UnevenTie
from detq.target import Target


@dataclass(frozen=True, slots=True)
class Record:
    """A file for one target.

    Attributes:
        target: its name.
        engine: that runs it; empty where any may.
        any_batch: the number of images is left open.
        note: what its grids and types are.
        source: where that is known from.
        opset: the file is written in.
        layers: an answer for every layer with weights.
        boundaries: where types change.
        ties: tensors that a shared scale costs much.
    """

    target: str
    engine: str
    any_batch: bool
    note: str
    source: str
    opset: int
    layers: tuple[Answer, ...]
    boundaries: Boundaries
    ties: tuple[UnevenTie, ...] = ()


def record_of(model: ir.Model, target: Target, ties: Sequence[UnevenTie] = ()) -> Record:
    """The record of a written file.

    Args:
        model: in the target's dialect.
        target: its consumer.
        ties: from ``uneven_ties``.
    """
    return Record(
        target.name,
        target.engine,
        any(not isinstance(n, int) for x in model.graph.inputs for n in (x.shape or ())),
        target.note,
        target.source,
        model.opset_imports[""],
        explain(model),
        boundaries(model.graph, int8_layers(model.graph)),
        tuple(ties),
    )
