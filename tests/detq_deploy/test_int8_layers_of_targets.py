"""Every convolution that we call INT8 runs in INT8, and no other."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from detq.dialects import write_quantized
from detq.graph.files import save_model
from detq.model import FloatModel
from detq.plan import Placement
from detq.transforms import DEFAULT, transform
from detq_deploy.backends import open_runner
from detq_deploy.cpu_targets import KERNELS, older_cpu_target
from detq_deploy.inspect_cpu import int8_layers
from tests.block_writer import Writer
from tests.engines import assert_within_range
from tests.steps import images, merged, quantized
from tests.zoo import ZOO, network

ENGINES = sorted(KERNELS)


def check(engine: str, model: FloatModel, path: Path, *in_float: str) -> Placement:
    """Write the engine's file; what it runs in INT8 is what the placement says."""
    target = older_cpu_target(engine)
    found = quantized(model, target, dict.fromkeys(in_float, "asked for"))
    save_model(write_quantized(found, target, batch=1), path)
    counted = int8_layers(engine, path)
    called = {layer.node for layer in found.placement.layers if layer.int8}
    others = {layer.node for layer in found.placement.layers} - called
    assert set(counted.in_float) == others
    assert (counted.int8, counted.convolutions) == (len(called), len(called) + len(others))
    return found.placement


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(name: str, engine: str, tmp_path: Path) -> None:
    check(engine, merged(name), tmp_path / "model.onnx")


def _two_halves(w: Writer, x: ir.Value) -> ir.Value:
    """Wide layers with SiLU, a signed and an unsigned way into one Concat, a residual."""
    x = w.conv_module(w.conv_module(x, 32, 3, name="wide"), 32, 3, name="silu", activation="silu")
    signed = w.plain_conv(x, 32, 3, name="signed")
    joined = w.concat([w.conv_module(x, 32, 3, name="positive"), signed])
    y = w.conv_module(joined, 32, 3, name="after", activation="hardswish")
    return w.conv_module(w.elementwise("Add", y, x), 8, 3, name="last")


@pytest.mark.parametrize("engine", ENGINES)
def test_activations_that_no_kernel_absorbs(engine: str, tmp_path: Path) -> None:
    model = transform(network(_two_halves), DEFAULT)
    placement = check(engine, model, tmp_path / "model.onnx")
    in_float = {layer.node for layer in placement.layers if not layer.int8}
    # The stem has 27 products and the prediction is never rounded.
    assert in_float == ({"stem.conv", "pred"} if engine == "onnxruntime" else {"pred"})


@pytest.mark.parametrize(
    "name",
    ["backbone.ERBlock_3.0.conv", "backbone.ERBlock_5.2.cv1.conv", "neck.Bifusion0.cv2.conv"],
)
def test_onnxruntime_leaves_a_layer_float_that_was_asked_for(name: str, tmp_path: Path) -> None:
    # By itself it rounds the weights of a float layer whose input and output are rounded.
    placement = check("onnxruntime", merged("tiny_detector"), tmp_path / "model.onnx", name)
    before = [layer for layer in placement.layers if "would round" in layer.reason]
    assert before
    assert all(name in layer.reason for layer in before)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["tiny_detector", "bifpan", "residual"])
def test_it_computes_what_the_file_says(name: str, engine: str, tmp_path: Path) -> None:
    target = older_cpu_target(engine)
    path = tmp_path / "model.onnx"
    save_model(write_quantized(quantized(merged(name), target), target, batch=1), path)
    feed = images(merged(name), count=1, seed=1)
    with open_runner(engine, path, threads=1) as run:
        found = run(feed)["outputs"]
    with open_runner("torch", path) as run:
        wanted = run(feed)["outputs"]
    # A sum on the edge between two codes falls to the other side, and drags others along.
    assert_within_range(found, wanted, 0.1)
    assert np.sqrt(np.mean((found - wanted) ** 2)) <= 0.01 * np.ptp(wanted)
