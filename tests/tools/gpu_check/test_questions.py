from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tools.gpu_check.questions import QUESTIONS, read_question, write_questions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("questions")
    assert tuple(write_questions(found)) == QUESTIONS
    return found


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_answer_is_onnx_own(name: str, folder: Path) -> None:
    question = read_question(folder, name)
    model = onnx.load(folder / question.file)
    onnx.checker.check_model(model, full_check=True)
    model.opset_import[0].version = 19  # ONNX's own evaluator begins there
    (found,) = ReferenceEvaluator(model).run(None, {"images": question.images})
    np.testing.assert_allclose(found, question.wanted, rtol=0, atol=1e-4 * question.wanted.max())


def test_a_wrong_axis_would_show(folder: Path) -> None:
    """The same file with the scales of one axis put along the other is far off."""
    model = onnx.load(folder / "transposed_axis_1.onnx")
    scale = next(x for x in model.graph.initializer if x.name == "weight.scale")
    shuffled = np.roll(onnx.numpy_helper.to_array(scale), 1)
    scale.CopyFrom(onnx.numpy_helper.from_array(shuffled, "weight.scale"))
    model.opset_import[0].version = 19
    question = read_question(folder, "transposed_axis_1")
    (found,) = ReferenceEvaluator(model).run(None, {"images": question.images})
    assert np.abs(found - question.wanted).max() > 0.05 * question.wanted.max()


def test_each_asks_something_else(folder: Path) -> None:
    stored = {
        name: {x.name: x.data_type for x in onnx.load(folder / f"{name}.onnx").graph.initializer}
        for name in QUESTIONS
    }
    assert stored["stored_conv"]["weight"] == onnx.TensorProto.INT8
    assert stored["float_conv"]["weight"] == onnx.TensorProto.FLOAT
    counts = [
        onnx.numpy_helper.to_array(
            next(
                x
                for x in onnx.load(folder / f"transposed_{form}.onnx").graph.initializer
                if x.name == "weight.scale"
            )
        ).size
        for form in ("one_scale", "axis_0", "axis_1")
    ]
    assert counts == [1, 32, 64]
