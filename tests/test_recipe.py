from pathlib import Path
from typing import Any

import pytest

from detq.recipe import Calibration, Evaluation, Recipe, RepQuant, Weights, learner_named


def recipe(**options: Any) -> Recipe:
    return Recipe(
        checkpoint=Path("a.pt"),
        size=(64, 96),
        calibration=Calibration(data=Path("images")),
        **options,
    )


def test_the_default_clips_by_squared_error_and_learns_the_closed_form() -> None:
    default = recipe()
    assert default.range.__struct_config__.tag == "mse"
    assert default.channel_wise is not None and default.channel_wise.range is None
    assert default.learn == (learner_named("qprep"),)


@pytest.mark.parametrize("bits", [{"activation_bits": 6}, {"weights": Weights(bits=4)}])
def test_fewer_bits_are_simulated_alone(bits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fewer than 8 bits are simulated"):
        recipe(**bits)
    assert recipe(**bits, targets=("plain",)).targets == ("plain",)


def test_transformer_blocks_are_simulated_alone() -> None:
    with pytest.raises(ValueError, match="`repquant` is simulated"):
        recipe(repquant=RepQuant(), targets=("plain", "openvino"))
    assert recipe(repquant=RepQuant(), targets=("plain",)).repquant == RepQuant()


def test_a_border_as_large_as_the_image() -> None:
    with pytest.raises(ValueError, match="`shrink` leaves nothing"):
        recipe(evaluation=Evaluation(data=Path("val.json"), shrink=64))
    assert recipe(evaluation=Evaluation(data=Path("val.json"), shrink=63)).evaluation is not None


@pytest.mark.parametrize(
    "name", ["qprep", "qprep_learned", "abc", "adaround", "bias_correction"]
)  # fmt: skip
def test_a_learner_by_its_name(name: str) -> None:
    assert learner_named(name).__struct_config__.tag == name
