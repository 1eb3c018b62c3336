"""ONNX Runtime without its optimizations, on any ONNX bytes."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]


def images(batch: int = 2, height: int = 32, width: int = 32) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((batch, 3, height, width), np.float32)


def outputs(content: bytes, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: x}))
