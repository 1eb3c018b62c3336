from pathlib import Path

import pytest

from detq.pipeline.subject import subject
from detq.recipe import Bench, Calibration, Evaluation, Recipe


def recipe(targets: list[str], backends: list[str] | None, bench: str | None) -> Recipe:
    return Recipe(
        checkpoint=Path("x.pt"),
        size=(64, 64),
        calibration=Calibration(data=Path("x")),
        targets=tuple(targets),
        evaluation=Evaluation(data=Path("x"), backends=tuple(backends)) if backends else None,
        bench=Bench(backend=bench) if bench else None,
    )


ALL = ["plain", "onnxruntime", "openvino"]
ENGINES = ["torch", "onnxruntime", "openvino"]


@pytest.mark.parametrize(
    ("targets", "backends", "bench", "found"),
    [
        (ALL, ENGINES, "onnxruntime", ("onnxruntime", "onnxruntime")),  # timed
        (ALL, ENGINES, "torch", ("plain", "torch")),
        (ALL, ENGINES, None, ("openvino", "openvino")),  # the last that is scored
        (ALL, ["openvino", "torch"], None, ("plain", "torch")),
        (ALL, ["torch"], "openvino", ("plain", "torch")),  # what is timed is not scored
        (["plain"], ["openvino"], "openvino", ("plain", "")),  # only float is scored
        (ALL, None, "openvino", ("openvino", "")),
        (ALL, None, None, ("plain", "")),
    ],
)
def test_the_model_that_a_run_is_about(
    targets: list[str], backends: list[str] | None, bench: str | None, found: tuple[str, str]
) -> None:
    assert subject(recipe(targets, backends, bench)) == found
