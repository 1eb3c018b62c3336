import json
from pathlib import Path

import pytest

from tests.cli.calls import Detq, Tiny


def test_a_model_equals_itself_and_int8_is_near(detq: Detq, tiny: Tiny) -> None:
    words = [tiny.model("float"), tiny.model("model.plain"), "--backend", "torch"]
    called = detq("compare", *words, "--data", tiny.data.coco, "--count", 3, "--json").done()
    same, int8 = json.loads(called.out)
    assert [error["output"] for error in same["errors"]] == ["outputs boxes", "outputs scores"]
    assert all(error["largest"] == 0 for error in same["errors"])
    boxes, scores = int8["errors"]
    assert 0 < boxes["mean"] < 2  # pixels
    assert 0 < scores["mean"] < 0.05
    assert boxes["unit"] == "px"
    assert boxes["snr_db"] > 10
    assert same["errors"][0]["snr_db"] is None  # infinite
    agreed = same["agreement"]
    assert agreed["ap"] == pytest.approx(1, abs=1e-9)
    assert agreed["boxes"] > 0
    assert (agreed["missed"], agreed["invented"], agreed["score_spread"]) == (0, 0, 0)
    assert 0.5 < int8["agreement"]["ap50"] <= 1
    assert int8["agreement"]["score_spread"] > 0
    assert same["accuracy"]["AP50"] == pytest.approx(int8["accuracy"]["AP50"], abs=0.1)


def test_engines_agree_on_the_float_file(detq: Detq, tiny: Tiny) -> None:
    backends = ("--backend", "torch", "--backend", "onnxruntime", "--backend", "openvino")
    words = ["compare", tiny.model("float"), *backends, "--data", tiny.data.val, "--json"]
    rows = json.loads(detq(*words, "--count", 2, "--no-accuracy").done().out)
    assert [row["backend"] for row in rows] == ["torch", "onnxruntime", "openvino"]
    for row in rows:
        assert row["accuracy"] is None
        for error in row["errors"]:
            assert error["largest"] <= 1e-4 * error["span"]
        assert row["agreement"]["ap"] == pytest.approx(1, abs=1e-3)  # without a label


def test_files_of_different_batch_are_compared(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    files = [tmp_path / f"{batch}.onnx" for batch in (1, 3)]
    for file in files:
        detq("export", tiny.checkpoint, "--size", "64x96", "--batch", file.stem, "--output",
             file).done()  # fmt: skip
    called = detq("compare", *files, "--data", tiny.data.val, "--count", 2, "--no-accuracy")
    assert "3.onnx onnxruntime" in called.done().out


def test_a_table_for_people(detq: Detq, tiny: Tiny) -> None:
    files = tiny.model("float"), tiny.model("model.openvino")
    called = detq("compare", *files, "--backend", "openvino", "--data", tiny.data.coco).done()
    assert "raw outputs against the first\n" in called.out
    assert "model.openvino.onnx openvino " in called.out
    assert "agreement with the first model, its boxes above score 0.25\n" in called.out
    assert " px " in called.out


def test_what_cannot_be_compared(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["compare", tiny.model("float")]
    detq(*words, "--data", tiny.data.val).refused(
        "a folder holds no ground truth", "give annotations, or --no-accuracy"
    )
    other = tmp_path / "other.onnx"
    detq("export", tiny.checkpoint, "--size", 64, "--output", other).done()
    called = detq(*words, other, "--data", tiny.data.coco)
    called.refused("other.onnx: takes images of 64x64, the first of 64x96")
