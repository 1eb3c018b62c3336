"""One network in the forms between which placement may choose, and what NVIDIA makes of each.

``python -m tests.detq_deploy.nvidia.forms`` writes ``tests/golden/tensorrt_layers.json`` anew
(DETQ_DATA is the test data); docs/tensorrt-layers.md tells what follows from it.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from detq.dialects import write_quantized
from detq.equalize import equalize
from detq.graph.files import save_model
from detq.graph.stored import array_of, store
from detq.model import FloatModel
from detq.observe import collect
from detq.placement import place
from detq.quantized import quantize
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import MinMax
from detq.stats import CalibrationStats
from detq.target import PLAIN, Target
from detq.transforms import DEFAULT, transform
from detq.transforms.coarse_fine import merged_kernels, split_coarse_fine
from detq_deploy.lint import lint_file
from detq_deploy.nvidia.audit import Audit, audit
from detq_deploy.targets import target_named
from yolov6_adapter import read_checkpoint, source_from_checkpoint

GOLDEN = Path(__file__).parents[2] / "golden" / "tensorrt_layers.json"
N, LITE, DFL = "yolov6-n 320", "yolov6-lite-s 320", "yolov6-m fixture 256"
_FILES = {
    N: ("person/person_yolov6n_ckpt.pt", 320),
    LITE: ("coco/yolov6lite_s.pt", 320),
    DFL: ("fixtures/v4_m.pt", 256),
}
Form = Callable[[FloatModel], ir.Model]


@cache
def network(data: Path, name: str) -> FloatModel:
    """The merged float network."""
    file, size = _FILES[name]
    source = source_from_checkpoint(read_checkpoint(data / file), (size, size))
    return transform(source, DEFAULT)


def written(
    model: FloatModel, target: Target = PLAIN, float_layers: tuple[str, ...] = ()
) -> ir.Model:
    """Quantized on two random images and written for a target, batch 1."""
    placement = place(model, target, dict.fromkeys(float_layers, "measured"))
    stats = CalibrationStats(_observed(model, tuple(p.value for p in placement.points)), ())
    ranges = choose_ranges(stats, placement, estimator_from(MinMax()))
    return write_quantized(quantize(model, placement, ranges), target, batch=1)


def split(model: FloatModel) -> ir.Model:
    """CFWS: every merged kernel as two convolutions."""
    return written(split_coarse_fine(model, merged_kernels(model)))


def channel_wise(model: FloatModel) -> ir.Model:
    """Channels brought to one range; some factors stay as multiplications."""
    placement = place(model, PLAIN)
    seen = _observed(model, tuple(point.value for point in placement.points))
    return written(equalize(model, placement, seen).model)


def unequal_concats(model: FloatModel) -> ir.Model:
    """Every side of every Concat with a scale of its own."""
    copy = written(model)
    for node in list(copy.graph):
        if node.op_type == "Concat":
            for place_, side in enumerate(node.inputs):
                _rescale(copy.graph, side, np.float32(1.1 + 0.1 * place_))
    return copy


def gates_rounded(model: FloatModel) -> ir.Model:
    """A pair on every tensor that a squeeze-excite both pools and multiplies."""
    copy = written(model)
    for node in list(copy.graph):
        x = node.inputs[0] if node.op_type == "GlobalAveragePool" else None
        producer = None if x is None else x.producer()
        if x is None or producer is None:
            continue
        scale = store(copy.graph, f"{x.name}.scale", np.asarray(0.05, np.float32))
        zero = store(copy.graph, f"{x.name}.zero_point", np.zeros((), np.int8))
        readers = [use for use in x.uses() if use.node.op_type in ("GlobalAveragePool", "Mul")]
        q, dq = (
            ir.Node("", kind, [None, scale, zero], name=f"{x.name}.{kind}", num_outputs=1)
            for kind in ("QuantizeLinear", "DequantizeLinear")
        )
        q.replace_input_with(0, x)
        dq.replace_input_with(0, q.outputs[0])
        for made, dtype in ((q, ir.DataType.INT8), (dq, ir.DataType.FLOAT)):
            made.outputs[0].name, made.outputs[0].shape = made.name, x.shape
            made.outputs[0].type = ir.TensorType(dtype)
        copy.graph.insert_after(producer, [q, dq])
        for use in readers:
            use.node.replace_input_with(use.idx, dq.outputs[0])
    return copy


def _rescale(graph: ir.Graph, side: ir.Value | None, factor: np.float32) -> None:
    dq = None if side is None else side.producer()
    q = None if dq is None or dq.inputs[0] is None else dq.inputs[0].producer()
    if dq is None or q is None or dq.op_type != "DequantizeLinear":
        return
    scale = array_of(q.inputs[1])
    assert scale is not None
    own = store(graph, f"{q.name}.own", np.asarray(scale * factor))
    q.replace_input_with(1, own)
    dq.replace_input_with(1, own)


@cache
def _observed(model: FloatModel, values: tuple[str, ...]) -> Mapping[str, Any]:
    images = np.random.default_rng(0).random((2, 3, *model.detector.size), np.float32)
    return collect(model, list(values), [images])


def _target(name: str, model: FloatModel) -> ir.Model:
    return written(model, target_named(name))


FORMS: Mapping[str, Form] = {
    "plain": written,
    "transposed float": partial(written, float_layers=("*upsample_transpose",)),
    "first layer float": partial(written, float_layers=("backbone.stem.conv",)),
    "concat scales unequal": unequal_concats,
    "gates rounded": gates_rounded,
    "cfws": split,
    "channel-wise": channel_wise,
    "trt8.5": partial(_target, "trt8.5"),
    "trt10.3": partial(_target, "trt10.3"),
    "trt11.4": partial(_target, "trt11.4"),
    "trt-rtx": partial(_target, "trt-rtx"),
}
_ONLY = {"transposed float": N, "first layer float": N, "gates rounded": LITE}


def forms_of(name: str) -> list[str]:
    """The forms that the network has."""
    return [form for form in FORMS if _ONLY.get(form, name) == name]


def audited(data: Path, name: str, form: str, folder: Path, arch: Any = "sm86") -> Audit:
    """What NVIDIA's builder makes of a network in one form."""
    path = folder / "model.onnx"
    save_model(FORMS[form](network(data, name)), path)
    return audit(path, lint_file(path, target_named("trt-rtx")), arch)


def row(found: Audit) -> dict[str, Any]:
    """The figures that are kept."""
    return {
        "layers": len(found.layers),
        "predicted_int8": sum(layer.predicted for layer in found.layers),
        "compiled_int8": sum(bool(layer.compiled) for layer in found.layers),
        "disagree": sorted(x.node for x in found.layers if x.predicted != bool(x.compiled)),
        "kernels": found.kernels,
        "helpers": found.helpers,
        "megabytes_moved": float(f"{found.bytes_moved / 1e6:.1f}"),
    }


def main(data: Path) -> None:
    """Build everything and keep the figures."""
    table: dict[str, Any] = {"engine": "", "arch": "sm86", "networks": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in _FILES:
            rows = table["networks"].setdefault(name, {})
            for form in forms_of(name):
                found = audited(data, name, form, Path(folder))
                table["engine"] = f"TensorRT-RTX {found.version}"
                rows[form] = row(found)
                print(name, form, rows[form], [f.what for f in found.findings][:2], flush=True)
    GOLDEN.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(os.environ["DETQ_DATA"]))
