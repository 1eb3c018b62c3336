"""Float graph to float graph, the same function.

A transform is a function ``FloatModel -> FloatModel`` that leaves its argument alone and
checks in float64 that the network still computes the same.
"""

from collections.abc import Callable, Mapping, Sequence

from detq.errors import RecipeError
from detq.model import FloatModel
from detq.transforms.merge import fold_bn, reparameterize

Transform = Callable[[FloatModel], FloatModel]

TRANSFORMS: Mapping[str, Transform] = {
    "fold_bn": fold_bn,
    "reparameterize": reparameterize,
}

# Branches first: they are then merged from the checkpoint's own numbers in one rounding.
DEFAULT = ("reparameterize", "fold_bn")


def transform(model: FloatModel, names: Sequence[str]) -> FloatModel:
    """Apply transforms in order.

    Raises:
        RecipeError: a name is not in the table.
        NotEquivalentError: a transform changed the function.
    """
    for name in names:
        if name not in TRANSFORMS:
            raise RecipeError(f"no transform called {name}", hint=f"known: {', '.join(TRANSFORMS)}")
        model = TRANSFORMS[name](model)
    return model
