"""The interpreter as an engine: the graph of a file, run in torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from numpy.typing import NDArray

from detq.detection import Detector
from detq.graph.execute import (
    compile_slice,
    exact_float32,
    execute,
    fold_constants,
    parameters,
)
from detq.graph.files import detector_from_metadata, load_model


class TorchRunner:
    """A ``Runner`` that needs no engine and follows ONNX's arithmetic step by step.

    Args:
        path: ONNX file.
        threads: of torch in this whole process; its own choice if None.

    Raises:
        InputError: no such file, or not one of ours.
        UnsupportedOperatorError: an operator is not in the table.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        model = load_model(path)
        if threads is not None:
            torch.set_num_threads(threads)
        self.name = f"torch {torch.__version__}"
        self.detector: Detector = detector_from_metadata(model.metadata_props, str(path))
        self._input = str(model.graph.inputs[0].name)
        self.batch = _fixed_batch(model.graph.inputs[0])
        program = compile_slice(model.graph, [self._input])
        self._params = parameters(program)
        with torch.inference_mode():
            self._program = fold_constants(program, self._params)

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run images as the file takes them."""
        with torch.inference_mode(), exact_float32():
            feed = torch.from_numpy(images)
            if not self.detector.takes_pixels:
                feed = feed.contiguous(memory_format=torch.channels_last)
            found = execute(self._program, {self._input: feed}, self._params)
        return {name: tensor.contiguous().numpy() for name, tensor in found.items()}

    def __enter__(self) -> "TorchRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to free."""


def _fixed_batch(value: ir.Value) -> int | None:
    batch = value.shape[0] if value.shape is not None else None
    return batch if isinstance(batch, int) else None
