from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detq.detection import Detector
from detq.errors import InputError
from detq_deploy.backends import open_runner
from detq_deploy.trt.check_outputs import OutputGap, gap_findings, output_gaps

ROWS = Detector(family="tiny", names=("cat",), strides=(8,), size=(16, 16))
IMAGES = [np.zeros((1, 3, 16, 16), np.float32)] * 2


class Given:
    """A runner that answers what it was given, batch after batch."""

    name = "given"
    batch = 1

    def __init__(self, *answers: Mapping[str, NDArray[Any]], detector: Detector | None) -> None:
        self._answers = iter(answers)
        self._detector = detector

    @property
    def detector(self) -> Detector:
        if self._detector is None:
            raise InputError("not written by detq")
        return self._detector

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        return next(self._answers)

    def __enter__(self) -> "Given":
        return self

    def __exit__(self, *error: object) -> None: ...


def gaps(
    ours: list[NDArray[Any]], theirs: list[NDArray[Any]], detector: Detector | None = None
) -> tuple[OutputGap, ...]:
    runs = [Given(*({"out": x} for x in xs), detector=detector) for xs in (ours, theirs)]
    return output_gaps(runs[0], runs[1], IMAGES[: len(ours)])


def test_the_same_is_the_same() -> None:
    x = np.array([[1.0, -2.0]])
    (gap,) = gaps([x, x], [x, x])
    assert (gap.output, gap.largest, gap.relative) == ("out", 0.0, 0.0)
    assert gap.cosine == pytest.approx(1, abs=1e-12)
    assert gap_findings((gap,), "engine") == ()


def test_all_batches_count() -> None:
    a, b = np.array([3.0, 4.0]), np.array([4.0, 3.0])
    (gap,) = gaps([a, a], [a, b])
    assert gap.largest == 1.0
    assert gap.relative == pytest.approx(1 / 4, abs=1e-12)
    assert gap.cosine == pytest.approx((25 + 24) / 50, abs=1e-12)
    (finding,) = gap_findings((gap,), "TensorRT 10.3.0")
    assert (finding.rule, finding.severity, finding.node) == ("engine-differs", "error", "out")
    assert "cosine 0.98000, up to 1" in finding.what


def test_boxes_do_not_hide_wrong_scores() -> None:
    right = np.array([[[300.0, 200, 50, 40, 1, 0.9], [100.0, 90, 20, 30, 1, 0.1]]])
    wrong = right.copy()
    wrong[..., 5] = wrong[..., 5][..., ::-1]
    boxes, scores = gaps([wrong], [right], ROWS)
    assert (boxes.output, scores.output) == ("out: boxes", "out: scores")
    assert boxes.cosine == pytest.approx(1, abs=1e-12)
    assert scores.cosine < 0.9
    columns = Detector(family="t", names=("cat",), strides=(8,), size=(16, 16), layout="channels")
    turned = gaps([wrong.transpose(0, 2, 1)], [right.transpose(0, 2, 1)], columns)
    assert turned == (boxes, scores)


def test_nothing_and_no_number_are_told() -> None:
    zero = np.zeros(2)
    assert gaps([zero], [zero])[0].cosine == 1.0
    assert gap_findings(gaps([zero], [zero + 1]), "engine")
    assert gap_findings(gaps([zero + np.nan], [zero + 1]), "engine")


def test_other_outputs_are_refused() -> None:
    one = Given({"a": np.zeros(1)}, detector=None)
    other = Given({"b": np.zeros(1)}, detector=None)
    with pytest.raises(InputError, match="gives a, the reference b"):
        output_gaps(one, other, IMAGES[:1])
    with pytest.raises(InputError, match=r"out is of shape \(1,\), in the reference of \(2,\)"):
        gaps([np.zeros(1)], [np.zeros(2)])


def test_a_real_engine_beside_the_graph_it_runs(qdq_file: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    images = [np.random.default_rng(0).random((1, 3, 16, 16), np.float32)]
    with (
        open_runner("onnxruntime", qdq_file, threads=1) as engine,
        open_runner("onnxruntime", qdq_file, threads=1, optimize=False) as reference,
    ):
        found = output_gaps(engine, reference, images)
    assert found
    assert gap_findings(found, engine.name) == ()
