"""AdaRound: the rounding of the weights learned layer by layer, a baseline."""

from functools import partial

from detq.learn.int8_layers import int8_layers
from detq.learn.learned import Learned, Task
from detq.learn.reconstruct import Plan, reconstruct
from detq.learn.trainables import learned_rounding
from detq.learn.units import layer_units
from detq.recipe import AdaRound


def adaround(task: Task, options: AdaRound) -> Learned:
    """Up or down for every weight, by the squared error of the layer's output."""
    plan = Plan(
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
        device=options.device,
        rounding=partial(learned_rounding, steps=options.steps),
        metric="mse",
    )
    return reconstruct(task, layer_units(task.floated, int8_layers(task.quantized)), plan)
