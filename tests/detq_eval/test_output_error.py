import numpy as np
import pytest
from numpy.typing import NDArray

from detq_eval.output_error import ErrorMeter, OutputError


def outputs(seed: int, batch: int = 2) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {"outputs": rng.normal(0, 10, (batch, 7, 8)).astype(np.float32)}


def errors_of(meter: ErrorMeter) -> dict[str, OutputError]:
    return {error.output: error for error in meter.errors()}


def test_boxes_and_scores_apart() -> None:
    wanted, other = outputs(0), outputs(0)
    other["outputs"][1, 3, 2] += 2  # a box
    other["outputs"][0, 0, 6] -= 0.5  # a score
    meter = ErrorMeter()
    meter.add(wanted, other)
    boxes, scores = errors_of(meter)["outputs boxes"], errors_of(meter)["outputs scores"]
    assert (boxes.unit, scores.unit) == ("px", "")
    assert boxes.largest == pytest.approx(2, abs=1e-5)
    assert boxes.mean == pytest.approx(2 / (2 * 7 * 4), abs=1e-6)
    assert scores.largest == pytest.approx(0.5, abs=1e-5)
    assert boxes.span == float(np.ptp(wanted["outputs"][..., :4].astype(np.float64)))


def test_equal_outputs_have_no_error() -> None:
    meter = ErrorMeter()
    meter.add(outputs(0), outputs(0))
    assert [(error.largest, error.mean) for error in meter.errors()] == [(0, 0), (0, 0)]


def test_images_add_up_whatever_the_batches() -> None:
    whole, parts = ErrorMeter(), ErrorMeter()
    whole.add(outputs(0, 6), outputs(1, 6))
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        parts.add(*({"outputs": outputs(seed, 6)["outputs"][rows]} for seed in (0, 1)))
    for one, other in zip(whole.errors(), parts.errors(), strict=True):
        assert (one.output, one.largest, one.span) == (other.output, other.largest, other.span)
        assert one.mean == pytest.approx(other.mean, rel=1e-12)


def test_outputs_that_the_other_does_not_have_are_passed_over() -> None:
    meter = ErrorMeter()
    wanted = {**outputs(0), "masks": np.zeros((2, 7, 32), np.float32)}
    meter.add(wanted, outputs(1))
    assert set(errors_of(meter)) == {"outputs boxes", "outputs scores"}
    meter = ErrorMeter()
    meter.add(wanted, {"outputs": outputs(1)["outputs"][:, :3]})
    assert meter.errors() == ()


def test_small_differences_of_large_numbers_are_not_lost() -> None:
    meter = ErrorMeter()
    wanted = {"outputs": np.full((1, 1, 8), 2**24, np.float32)}
    meter.add(wanted, {"outputs": np.full((1, 1, 8), 2**24 - 1, np.float32)})
    assert {error.largest for error in meter.errors()} == {1.0}


def test_no_box_is_no_error() -> None:
    meter = ErrorMeter()
    empty = {"outputs": np.zeros((1, 0, 8), np.float32)}
    meter.add(empty, empty)
    for error in meter.errors():
        assert (error.largest, error.mean, error.span) == (0, 0, 0)


def test_signal_to_noise_leaves_the_objectness_out() -> None:
    wanted, other = outputs(0), outputs(0)
    wanted["outputs"][..., 4] = other["outputs"][..., 4] = 1000
    other["outputs"][..., :4] *= np.float32(1.1)  # noise a tenth of the signal: 20 dB
    other["outputs"][..., 5:] *= np.float32(1.01)
    meter = ErrorMeter()
    meter.add(wanted, other)
    boxes, scores = errors_of(meter)["outputs boxes"], errors_of(meter)["outputs scores"]
    assert boxes.snr_db == pytest.approx(20, abs=1e-4)
    assert scores.snr_db == pytest.approx(40, abs=1e-3)
    same = ErrorMeter()
    same.add(wanted, wanted)
    assert {error.snr_db for error in same.errors()} == {float("inf")}
