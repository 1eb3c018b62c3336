from pathlib import Path

import numpy as np
import pytest
import torch

from detq.dialects import write_float
from detq.errors import InputError
from detq.graph.files import save_model
from detq.graph.torch_runner import TorchRunner
from tests.engines import assert_within_range, in_onnxruntime
from tests.zoo import tiny_detector


@pytest.mark.parametrize("batch", [None, 2])
def test_runs_a_file_as_onnxruntime_does(tmp_path: Path, batch: int | None) -> None:
    model = tiny_detector()
    written = write_float(model, batch=batch)
    save_model(written, tmp_path / "m.onnx")
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    with TorchRunner(tmp_path / "m.onnx") as runner:
        assert runner.batch == batch
        assert runner.detector == model.detector
        assert runner.name == f"torch {torch.__version__}"
        outputs = runner(images)
    assert list(outputs) == ["outputs"]
    assert outputs["outputs"].dtype == np.float32
    wanted = in_onnxruntime(written, {"images": images})["outputs"]
    assert_within_range(outputs["outputs"], wanted, 1e-5)


def test_results_are_the_callers_to_keep(tmp_path: Path) -> None:
    save_model(write_float(tiny_detector()), tmp_path / "m.onnx")
    runner = TorchRunner(tmp_path / "m.onnx")
    first = runner(np.zeros((1, 3, 64, 64), np.float32))["outputs"]
    kept = first.copy()
    second = runner(np.ones((1, 3, 64, 64), np.float32))["outputs"]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writable


def test_takes_the_threads_it_is_given(tmp_path: Path) -> None:
    save_model(write_float(tiny_detector()), tmp_path / "m.onnx")
    before = torch.get_num_threads()
    try:
        TorchRunner(tmp_path / "m.onnx", threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_missing_or_foreign_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.onnx: no such file"):
        TorchRunner(tmp_path / "m.onnx")
    save_model(tiny_detector().graph, tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match=r"foreign\.onnx: does not say what it detects"):
        TorchRunner(tmp_path / "foreign.onnx")
