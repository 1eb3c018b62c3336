"""A model in OpenVINO's CPU plugin."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from detq.detection import Detector
from detq.errors import TargetError
from detq.graph.files import detector_from_metadata, load_model
from detq_deploy.cpu import cpu_features
from detq_deploy.engines import engine_title, import_engine, reason, refusal
from detq_deploy.input_shape import Shape, fitting, only_input


class OpenVinoRunner:
    """A compiled model on the CPU, one request at a time.

    Layers that the file leaves in float run in float32, on machines with bfloat16 units
    too: the float figures are those of the file.

    Args:
        path: an ONNX file. One without detq's metadata runs too: only reading
            ``detector`` raises InputError then.
        threads: the usable cores if None.
        busy_cores: threads are not bound to a core.

    Raises:
        InputError: no such file, not ONNX, not one image input.
        TargetError: OpenVINO refuses the graph.
        TargetUnavailableError: OpenVINO is not installed.
    """

    def __init__(self, path: Path, *, threads: int | None = None, busy_cores: bool = False) -> None:
        self.name = f"{engine_title('openvino')} CPU"
        self._where = str(path)
        # Read here first: OpenVINO keeps no ONNX metadata, and for a file that is not
        # ONNX it tries its other readers, which print.
        file = load_model(path)
        self._metadata = dict(file.metadata_props)
        self._outputs = [str(output.name) for output in file.graph.outputs]
        compiled = compile_model(path, threads or cpu_features().usable_cores, busy_cores)
        shapes = [_shape(port.partial_shape) for port in compiled.inputs]
        self._shape = only_input(shapes, self._where)
        self._pixels = compiled.inputs[0].element_type.get_type_name() == "u8"
        self._request = compiled.create_infer_request()
        self.batch = self._shape[0]

    @cached_property
    def detector(self) -> Detector:
        """The contract in the file's metadata."""
        return detector_from_metadata(self._metadata, self._where)

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run images as the file takes them; the arrays are the caller's to keep."""
        feeds = [fitting(images, self._shape, self._where, pixels=self._pixels)]
        try:
            found = self._request.infer(feeds, share_inputs=True, share_outputs=False)
        except RuntimeError as error:
            raise TargetError(f"{self.name} failed: {reason(error)}", where=self._where) from error
        return {name: found[index] for index, name in enumerate(self._outputs)}

    def __enter__(self) -> "OpenVinoRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """Free the compiled model."""
        del self._request


def compile_model(path: Path, threads: int, busy_cores: bool = False) -> Any:
    """OpenVINO's compiled model for one image (or batch) after the other on the CPU.

    Raises:
        InputError: no such file, or it is not ONNX.
        TargetError: OpenVINO refuses the graph.
    """
    core = import_engine("openvino").Core()
    try:
        settings = cpu_settings(threads, busy_cores)
        return core.compile_model(core.read_model(str(path)), "CPU", settings)
    except RuntimeError as error:
        raise refusal("openvino", path, error) from error


def cpu_settings(threads: int, busy_cores: bool = False) -> dict[str, str]:
    """OpenVINO's settings for one image (or batch) after the other on the CPU."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "ENABLE_CPU_PINNING": "NO" if busy_cores else "YES",
    }


def _shape(partial: Any) -> Shape:
    if partial.rank.is_dynamic:
        return ()
    return tuple(n.get_length() if n.is_static else None for n in partial)
