from pathlib import Path

import pytest

from detq.errors import DatasetError
from detq_eval.dataset import read_dataset
from detq_eval.evaluate import evaluate
from detq_eval.infer import InferenceOptions
from tests.detq_eval.scenes import NAMES, BoxFinder, write_coco, write_scenes


def test_an_engine_that_finds_everything_scores_one(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "truth.json", *write_scenes(tmp_path, 20))
    steps: list[tuple[int, int]] = []
    dataset = read_dataset(file, names=NAMES)
    result = evaluate(
        BoxFinder((256, 256)), dataset, batch=8, on_step=lambda *step: steps.append(step)
    )
    assert (result.metrics.ap50, result.metrics.ar100) == (1, pytest.approx(0.99, abs=0.011))
    assert dict(result.metrics.per_class).keys() == set(NAMES)
    assert (len(result.found), result.skipped, steps[-1]) == (20, (), (20, 20))
    assert result.images_per_second == 20 / result.seconds
    assert result.protocol == (
        "256x256, grey 114, no shrink, confidence 0.03, class-wise NMS at IoU 0.65, multi-label, "
        "300 detections, COCO bbox on box finder"
    )


def test_skipped_images_are_not_scored(tmp_path: Path) -> None:
    refs, boxes = write_scenes(tmp_path, 8)
    file = write_coco(tmp_path / "truth.json", refs, boxes)
    refs[3].path.write_bytes(b"")
    result = evaluate(
        BoxFinder((256, 256)),
        read_dataset(file, names=NAMES),
        InferenceOptions(skip_bad_images=True),
    )
    assert result.metrics.ap50 == 1
    assert [(ref.path, reason) for ref, reason in result.skipped] == [(refs[3].path, "is empty")]
    assert len(result.found) == 7


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    refs, boxes = write_scenes(tmp_path, 2)
    file = write_coco(tmp_path / "truth.json", refs, boxes)
    for ref in refs:
        ref.path.write_bytes(b"")
    dataset = read_dataset(file, names=NAMES)
    with pytest.raises(
        DatasetError, match=r"none of 2 images can be decoded \(\S+000.png is empty"
    ):
        evaluate(BoxFinder(), dataset, InferenceOptions(skip_bad_images=True))
