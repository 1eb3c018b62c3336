"""Across-block calibration: blocks matched to their own output and to that of their stage."""

from detq.learn.int8_layers import int8_layers
from detq.learn.learned import Learned, Task
from detq.learn.reconstruct import Plan, reconstruct
from detq.learn.trainables import learned_integers
from detq.learn.units import block_units, stage_units
from detq.recipe import Abc


def across_blocks(task: Task, options: Abc) -> Learned:
    """Block by block in the order of the graph, or a whole stage at a time."""
    blocks = block_units(task.floated, int8_layers(task.quantized))
    plan = Plan(
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
        device=options.device,
        scales=options.scales,
        gain=options.gain,
        bias=options.bias,
        rounding=learned_integers if options.rounding else None,
        metric=options.metric,
        scope=options.scope,
        stage_weight=options.stage_weight,
        tail=options.tail,
        confidence=options.confidence,
    )
    return reconstruct(task, stage_units(blocks) if options.joint else blocks, plan)
