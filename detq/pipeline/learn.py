"""Learners, one after the other, for one target."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from detq.calibration import drawn_images, first_batches
from detq.model import FloatModel
from detq.pipeline.progress import Run
from detq.quantized import QuantizedModel
from detq.recipe import LearnMethod
from detq.run_dir import key_of


def learn_in_turn(
    run: Run, target: str, model: FloatModel, start: QuantizedModel, key: str
) -> tuple[QuantizedModel, Sequence[object]]:
    """Each learner of the recipe goes on from what the one before it found.

    Stages that a killed run had done are not done again.

    Args:
        run: with a recipe that has learners.
        target: the consumer that ``start`` was made for.
        model: the float network that ``start`` was made from.
        start: with its ranges chosen.
        key: of all that made ``start``.

    Returns:
        The model, and for each learner what it did, as plain values.
    """
    found, told = start, []
    for number, options in enumerate(run.recipe.learn):
        given = msgspec.to_builtins(options)
        key = key_of([key, number, given])
        resume = run.path(f"learn.{target}.{number}.npz")
        found, outcome = _learn(run, target, model, found, options, resume, key)
        told.append(outcome)
    for number in range(len(run.recipe.learn)):
        run.path(f"learn.{target}.{number}.npz").unlink(missing_ok=True)
    return found, told


def _learn(
    run: Run,
    target: str,
    model: FloatModel,
    start: QuantizedModel,
    options: LearnMethod,
    resume: Path,
    key: str,
) -> tuple[QuantizedModel, object]:
    from detq.learn import Task, learn

    method = str(options.__struct_config__.tag)
    calibration = run.recipe.calibration
    refs = drawn_images(calibration)
    images = np.concatenate([*first_batches(model, refs, calibration, options.images)])
    with run.tools.progress(f"{method} for {target}, %", 100) as on_step:
        task = Task(
            start,
            model,
            images,
            fixed_batch=model.batch,
            cache_gib=options.cache_gb,
            on_step=lambda done, total: on_step(100 * done // total),
            note=lambda line: run.tools.note(f"{method} for {target}: {line}"),
            resume=resume,
            key=key,
        )
        found, outcome = learn(task, options)
    return found, outcome
