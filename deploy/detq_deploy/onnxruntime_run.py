"""A model in ONNX Runtime's CPU provider."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from detq.detection import Detector
from detq.errors import TargetError
from detq.graph.files import detector_from_metadata
from detq_deploy.cpu import cpu_features
from detq_deploy.engines import engine_title, import_engine, reason, refusal
from detq_deploy.input_shape import fitting, only_input

_SILENT = 4  # its own log; what it says comes back as an exception too


class OnnxRuntimeRunner:
    """An inference session on the CPU.

    Args:
        path: an ONNX file. One without detq's metadata runs too: only reading
            ``detector`` raises InputError then.
        threads: for one operator; the usable cores if None.
        optimize: False runs the graph node by node as it is written, the reference.
        busy_cores: threads sleep between two runs instead of spinning.

    Raises:
        InputError: no such file, not ONNX, not one image input.
        TargetError: ONNX Runtime refuses the graph.
        TargetUnavailableError: ONNX Runtime is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        optimize: bool = True,
        busy_cores: bool = False,
    ) -> None:
        self.name = f"{engine_title('onnxruntime')} CPU"
        self._where = str(path)
        threads = threads or cpu_features().usable_cores
        self._session = _open_session(path, threads, optimize, busy_cores)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [tuple(n if isinstance(n, int) else None for n in i.shape) for i in inputs]
        self._shape = only_input(shapes, self._where)
        self._input: str = inputs[0].name
        self._pixels = inputs[0].type == "tensor(uint8)"
        self._outputs: list[str] = [output.name for output in outputs]
        self.batch = self._shape[0]

    @cached_property
    def detector(self) -> Detector:
        """The contract in the file's metadata."""
        metadata = self._session.get_modelmeta().custom_metadata_map
        return detector_from_metadata(metadata, self._where)

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run images as the file takes them; the arrays are the caller's to keep."""
        feeds = {self._input: fitting(images, self._shape, self._where, pixels=self._pixels)}
        try:
            arrays = self._session.run(self._outputs, feeds)
        except Exception as error:  # every status code is an exception class of its own
            raise TargetError(f"{self.name} failed: {reason(error)}", where=self._where) from error
        return dict(zip(self._outputs, arrays, strict=True))

    def __enter__(self) -> "OnnxRuntimeRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """Free the session and its threads."""
        del self._session


def _open_session(path: Path, threads: int, optimize: bool, busy_cores: bool) -> Any:
    ort = import_engine("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    if busy_cores:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise refusal("onnxruntime", path, error) from error
