"""Quantize a float ONNX with another tool's defaults: ``python peer_program.py TOOL FLOAT INT8``.

Run by the interpreter of an environment that has the tool; imports nothing of detq.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx


def images(model: onnx.ModelProto) -> tuple[str, list[Any]]:
    """Name of the input and four random images."""
    first = model.graph.input[0]
    shape = [dim.dim_value or 1 for dim in first.type.tensor_type.shape.dim]
    random = np.random.default_rng(0)
    return first.name, [random.random(shape, np.float32) for _ in range(4)]


def onnxruntime(source: str, output: str) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    name, batches = images(onnx.load(source))

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Any] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {name: batch}

    quantize_static(source, output, Reader())


def nncf(source: str, output: str) -> None:
    import nncf as tool

    model = onnx.load(source)
    name, batches = images(model)
    data = tool.Dataset([{name: batch} for batch in batches])
    onnx.save(tool.quantize(model, data, subset_size=len(batches)), output)


def modelopt(source: str, output: str) -> None:
    from modelopt.onnx.quantization import quantize

    name, batches = images(onnx.load(source))
    quantize(
        source,
        quantize_mode="int8",
        calibration_data={name: np.concatenate(batches)},
        calibration_method="max",
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=output,
    )


def ultralytics(source: str, output: str) -> None:
    from ultralytics.utils.export.onnx import onnx_int8_quantize

    name, batches = images(onnx.load(source))
    onnx_int8_quantize(source, output, batches, lambda batch: batch, name)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
