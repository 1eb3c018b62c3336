"""From a float graph to a placement; names and numbers of the network play no part."""

from collections.abc import Mapping, Sequence

from detq.model import FloatModel
from detq.numerics import Grid
from detq.placement.passes import PASSES, Draft
from detq.plan import Placement, QuantPoint
from detq.target import Target


def place(
    model: FloatModel,
    target: Target,
    float_layers: Mapping[str, str] | None = None,
    cut_ties: Sequence[str] = (),
) -> Placement:
    """Points and layers of a merged network for one target.

    Positions and tie groups are the same for every target that makes the same layers INT8,
    but those with ``kernels``, which have points of their own where an engine asks for them.

    Args:
        model: merged; BatchNorm left in it is simply not quantized.
        target: says which grids its arithmetic has.
        float_layers: pattern of layer names → reason to leave them float.
        cut_ties: patterns of tensor names that get a scale of their own.

    Raises:
        RecipeError: a pattern matches nothing.
    """
    draft = Draft(model.graph.graph, target, float_layers or {}, tuple(cut_ties))
    for step in PASSES:
        draft = step(draft)
    return Placement(_points(draft), draft.layers)


def _points(draft: Draft) -> tuple[QuantPoint, ...]:
    position = {node: i for i, node in enumerate(draft.graph)}
    unsigned = draft.unsigned if draft.target.unsigned_activations else frozenset()
    return tuple(
        QuantPoint(
            str(value.name),
            tuple(str(n.name) for n in sorted(draft.points[value], key=position.__getitem__)),
            _grid(draft.target, signed=head not in unsigned),
            str(head.name),
            draft.reasons[value],
        )
        for value, head in draft.heads.items()
    )


def _grid(target: Target, *, signed: bool) -> Grid:
    return Grid(target.activation_bits, signed, shifted=signed and target.shifted_activations)
