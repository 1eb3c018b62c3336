"""Suppression inside a file against the same suppression outside, on seeded boxes."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from detq.detection import (
    SUPPRESSED,
    Detections,
    Detector,
    Layout,
    Suppression,
    suppressed_output,
)
from detq.dialects.heads import Heads, with_heads
from detq.errors import InputError, ModelError
from detq.graph.build import Builder
from detq.graph.files import detector_from_metadata, detector_metadata, save_model
from detq_eval.nms import non_max_suppression
from tests.engines import in_onnxruntime

Floats = NDArray[np.float32]
NAMES = ("a", "b", "c")
ONNX = Suppression(by="onnx", confidence=0.25, iou=0.5, max_detections=20)
EFFICIENT = Suppression(by="efficient", confidence=0.25, iou=0.5, max_detections=20)


def file(
    shape: tuple[int | str, ...], layout: Layout = "rows", names: tuple[str, ...] = NAMES
) -> ir.Model:
    """A detector that gives its input as it is."""
    b = Builder("boxes")
    images = b.input("images", shape)
    y = b.op("Identity", images, shape=shape)
    detector = Detector(family="t", names=names, strides=(8,), size=(64, 64), layout=layout)
    return b.finish({"outputs": y}, detector_metadata(detector))


def rows(batch: int, count: int = 200, seed: int = 0, classes: int = 3) -> Floats:
    """Overlapping boxes; objectness and scores within 0…1."""
    random = np.random.default_rng(seed)
    centre = random.uniform(10, 54, (batch, count, 2))
    extent = random.uniform(8, 24, (batch, count, 2))
    scores = random.uniform(0, 1, (batch, count, 1 + classes)) ** 2
    return np.concatenate([centre, extent, scores], axis=2).astype(np.float32)


def plain(boxes: Floats, options: Suppression) -> Detections:
    return non_max_suppression(
        boxes,
        confidence=options.confidence,
        iou=options.iou,
        max_detections=options.max_detections,
    )


def found(model: ir.Model, feed: Floats) -> list[Detections]:
    detector = detector_from_metadata(model.metadata_props, "")
    return suppressed_output(in_onnxruntime(model, {"images": feed}), detector, len(feed))


def suppressed(model: ir.Model, options: Suppression) -> ir.Model:
    return with_heads(model, Heads(options), nms=("onnx", "efficient"), where="t")


def check_same(got: Detections, wanted: Detections) -> None:
    np.testing.assert_array_equal(got.scores, wanted.scores)
    np.testing.assert_array_equal(got.classes, wanted.classes)
    np.testing.assert_allclose(got.boxes, wanted.boxes, atol=1e-5)


@pytest.mark.parametrize("batch", ["batch", 1, 3])
@pytest.mark.parametrize("most", [1, 20, 300])
def test_onnx_finds_what_is_found_outside(batch: int | str, most: int) -> None:
    options = Suppression(by="onnx", confidence=0.25, iou=0.5, max_detections=most)
    feed = rows(3 if batch == "batch" else int(batch))
    boxes = found(suppressed(file((batch, 200, 8)), options), feed)
    assert len(boxes) == len(feed)
    for got, one in zip(boxes, feed, strict=True):
        wanted = plain(one, options)
        check_same(got, wanted)
        assert 1 <= len(wanted) <= most


def test_an_image_without_boxes_beside_one_with() -> None:
    feed = rows(3)
    feed[1, :, 4] = 0
    none = found(suppressed(file(("batch", 200, 8)), ONNX), feed)
    assert [len(one) > 0 for one in none] == [True, False, True]
    check_same(none[2], plain(feed[2], ONNX))
    nothing = found(suppressed(file(("batch", 200, 8)), ONNX), np.zeros_like(feed))
    assert [len(one) for one in nothing] == [0, 0, 0]


def test_what_is_behind_the_boxes_is_zero() -> None:
    feed = rows(1, count=5)
    outputs = in_onnxruntime(suppressed(file((1, 5, 8)), ONNX), {"images": feed})
    count = int(outputs["num_dets"][0, 0])
    assert 0 < count < ONNX.max_detections
    assert all(not outputs[name][0, count:].any() for name in SUPPRESSED[1:])
    kinds = [outputs[name].dtype for name in SUPPRESSED]
    assert kinds == [np.int32, np.float32, np.float32, np.int32]


def test_columns_first_and_without_objectness() -> None:
    whole = rows(2)
    whole[..., 4] = 1
    bare = np.delete(whole, 4, axis=2).swapaxes(1, 2).copy()
    boxes = found(suppressed(file((2, 7, 200), "channels"), ONNX), bare)
    for got, one in zip(boxes, whole, strict=True):
        check_same(got, plain(one, ONNX))


def test_one_class() -> None:
    feed = rows(1, classes=1)
    (got,) = found(suppressed(file((1, 200, 6), names=("a",)), ONNX), feed)
    check_same(got, plain(feed[0], ONNX))


@pytest.mark.parametrize("options", [ONNX, EFFICIENT])
def test_the_file_is_valid_and_says_what_is_inside(options: Suppression, tmp_path: Path) -> None:
    model = file(("batch", 200, 8))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    with_head = suppressed(model, options)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert detector_from_metadata(with_head.metadata_props, "").suppression == options
    save_model(with_head, tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=options.by == "onnx")
    shapes = {value.name: list(value.shape or []) for value in with_head.graph.outputs}
    assert shapes == {
        "num_dets": ["batch", 1],
        "det_boxes": ["batch", 20, 4],
        "det_scores": ["batch", 20],
        "det_classes": ["batch", 20],
    }


def test_the_plugin_gets_boxes_scores_and_options() -> None:
    feed = rows(2)
    model = suppressed(file((2, 200, 8)), EFFICIENT)
    (plugin,) = (node for node in model.graph if node.op_type == "EfficientNMS_TRT")
    assert (plugin.domain, model.graph.opset_imports["TRT"]) == ("TRT", 1)
    given = {key: attribute.value for key, attribute in plugin.attributes.items()}
    assert given == {
        "background_class": -1,
        "box_coding": 1,
        "class_agnostic": 0,
        "iou_threshold": pytest.approx(0.5),
        "max_output_boxes": 20,
        "plugin_version": "1",
        "score_activation": 0,
        "score_threshold": pytest.approx(0.25),
    }
    inputs = [x for x in plugin.inputs if x is not None]
    model.graph.outputs.clear()
    model.graph.outputs.extend(inputs)
    model.graph.remove(plugin)
    del model.graph.opset_imports["TRT"]
    boxes, scores = in_onnxruntime(model, {"images": feed}).values()
    np.testing.assert_array_equal(boxes, feed[..., :4])
    np.testing.assert_array_equal(scores, feed[..., 5:] * feed[..., 4:5])


@pytest.mark.parametrize(
    ("options", "nms", "text"),
    [
        (EFFICIENT, ("onnx",), "^t: does not take --nms efficient; it takes onnx "),
        (ONNX, (), "^t: does not take --nms onnx; it has none "),
    ],
)
def test_a_consumer_that_does_not_take_it(
    options: Suppression, nms: tuple[str, ...], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        with_heads(file((1, 200, 8)), Heads(options), nms=nms, where="t")


def test_a_file_that_has_it_already() -> None:
    with pytest.raises(InputError, match="has this head already"):
        suppressed(suppressed(file((1, 200, 8)), ONNX), EFFICIENT)


def test_an_output_of_another_form() -> None:
    with pytest.raises(ModelError, match="9 columns, not 7 or 8"):
        suppressed(file((1, 200, 9)), ONNX)


def test_outputs_that_are_not_as_promised() -> None:
    model = suppressed(file((1, 200, 8)), ONNX)
    detector = detector_from_metadata(model.metadata_props, "")
    outputs = in_onnxruntime(model, {"images": rows(1)})
    with pytest.raises(ModelError, match=r"num_dets \[1, 1\].*where num_dets \[2, 1\]"):
        suppressed_output(outputs, detector, 2)
    del outputs["det_scores"]
    with pytest.raises(ModelError, match="det_scores missing"):
        suppressed_output(outputs, detector, 1)
