"""Against what Ultralytics itself computed: files of tests/golden/make_ultralytics.py."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from detq.graph.build import BLOCK, DECODE
from detq.model import FloatModel
from ultralytics_adapter import read_checkpoint, source_from_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ["v6_stripped", "v8_training", "v8_fused", "own_stripped", "own_fused", "dw_stripped",
         "dw_fused"]  # fmt: skip
SIZE = (64, 96)
PIXELS, SCORE = 5e-3, 3e-5  # float32 against float64; boxes are up to 600 pixels


def built(name: str) -> FloatModel:
    return source_from_checkpoint(read_checkpoint(GOLDEN / f"ultralytics_{name}.pt"), SIZE)


def run(model: FloatModel, images: NDArray[np.float32]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    serialized = ir.serde.serialize_model(model.graph).SerializeToString()
    session = ort.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["outputs"], {"images": images})[0])


def assert_golden(model: FloatModel, name: str) -> None:
    golden = np.load(GOLDEN / f"ultralytics_{name}.npz")
    got = run(model, golden["input_u8"].astype(np.float32) / 255)
    wanted = golden["output"].transpose(0, 2, 1)
    assert got.shape == (*wanted.shape[:2], wanted.shape[2] + 1)
    np.testing.assert_allclose(got[..., :4], wanted[..., :4], atol=PIXELS, rtol=0)
    np.testing.assert_array_equal(got[..., 4], 1)
    np.testing.assert_allclose(got[..., 5:], wanted[..., 4:], atol=SCORE, rtol=0)


def test_no_golden_is_left_out() -> None:
    assert {path.stem for path in GOLDEN.glob("ultralytics_*.pt")} == {
        f"ultralytics_{name}" for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_official_code(name: str) -> None:
    assert_golden(built(name), name)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_the_same_after_merging(name: str) -> None:
    pytest.importorskip("torch", reason="merging is checked in torch")
    from detq.transforms import DEFAULT, transform

    model = transform(built(name), DEFAULT)
    assert_golden(model, name)
    norms = [n for n in model.graph.graph if n.op_type == "BatchNormalization"]
    assert not norms


def test_stages_and_blocks_are_those_of_the_layers() -> None:
    model = built("own_stripped")
    assert model.stages == (
        *(f"model.{i}" for i in (*range(9), 10)),
        *("model.11.level_0", "model.11.level_1", DECODE),
    )
    kinds = Counter(block.kind for block in model.blocks)
    assert kinds["RepConv"] == 2 and kinds["ConvTranspose"] == 1 and kinds["Bottleneck"] == 3
    weighted = [n for n in model.graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    alone = {str(n.name) for n in weighted if BLOCK not in n.metadata_props}
    predictions = {f"model.11.cv{k}.{i}.2" for k in (2, 3) for i in (0, 1)}
    assert alone == predictions | {"model.11.decode.proj_conv"}


def test_nothing_of_the_package_is_imported() -> None:
    program = f"""
import sys
from pathlib import Path
sys.modules["ultralytics"] = sys.modules["torch"] = None
from ultralytics_adapter import read_checkpoint, source_from_checkpoint
checkpoint = read_checkpoint(Path({str(GOLDEN / "ultralytics_v8_training.pt")!r}))
source_from_checkpoint(checkpoint, (64, 64))
print(*(name for name in sys.modules if name.startswith(("ultralytics.", "torch."))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
