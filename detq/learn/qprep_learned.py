"""QPRep by gradient: gain and shift of every layer learned together with activation scales."""

from detq.learn.int8_layers import int8_layers
from detq.learn.learned import Learned, Task
from detq.learn.reconstruct import Plan, reconstruct
from detq.learn.units import layer_units
from detq.recipe import QPRepLearned


def qprep_learned(task: Task, options: QPRepLearned) -> Learned:
    """Layer by layer, each matched to the float layer's output."""
    plan = Plan(
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
        device=options.device,
        scales=True,
        gain=True,
        bias=True,
        metric=options.metric,
    )
    return reconstruct(task, layer_units(task.floated, int8_layers(task.quantized)), plan)
