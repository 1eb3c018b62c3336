"""Which of the models a run is about: the one its report speaks of first."""

from detq.pipeline.measure import FILE_FOR, FLOAT_LABEL, evaluations
from detq.recipe import Recipe


def subject(recipe: Recipe) -> tuple[str, str]:
    """Label of an INT8 model and the backend it was scored in, ``""`` if in none.

    The engine that is timed comes first, then the last of the engines that score an INT8
    model, then the first target.
    """
    scored = [pair for pair in evaluations(recipe) if pair[0] != FLOAT_LABEL]
    timed = recipe.bench.backend if recipe.bench is not None else ""
    for label, backend in [*(pair for pair in scored if pair[1] == timed), *reversed(scored)]:
        return label, backend
    label = FILE_FOR.get(timed, timed)
    return (label if label in recipe.targets else recipe.targets[0]), ""
