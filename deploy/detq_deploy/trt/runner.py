"""A TensorRT engine behind the face of every other engine."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from detq.detection import Detector
from detq.errors import InputError, TargetError
from detq.graph.files import detector_from_metadata, load_model
from detq_deploy.input_shape import Shape, fitting, only_input, written
from detq_deploy.trt.buffers import Buffers
from detq_deploy.trt.deserialize import Opened, open_engine
from detq_deploy.trt.device import Reach, open_device
from detq_deploy.trt.tensors import TensorSpec, tensors_of

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRtRunner:
    """An engine on the first GPU, one run at a time on a stream of its own.

    Args:
        path: a plain plan, with or without detq's side-car.
        contract: ONNX file of detq whose metadata says what the engine detects; needed by
            ``detector`` where there is no side-car.
        cuda_graph: replay what one run puts into the stream, which spares a small network
            most of its launching; not where the shape of an output varies by itself.
        reach: how CUDA is reached; the first way that works if None.

    Raises:
        InputError: no such file, a truncated one, or one that is no plain plan.
        TargetError: it was built for another GPU or version, or does not fit into memory.
        TargetUnavailableError: there is no TensorRT, driver, GPU or way to CUDA.
    """

    def __init__(
        self,
        path: Path,
        *,
        contract: Path | None = None,
        cuda_graph: bool = False,
        reach: Reach | None = None,
    ) -> None:
        self._where = str(path)
        self._contract = contract
        self._cuda_graph = cuda_graph
        self._opened: Opened | None = open_engine(path)
        self.name, self.isa = self._opened.title, self._opened.sm
        self.caution = self._opened.caution
        self._order = self._opened.outputs
        self._device = open_device(reach)
        try:
            self._tensors = tensors_of(self._opened.engine, self._opened.context)
            self._input, self._shape = self._only_input()
            self._memory = Buffers(self._device, self._tensors)
        except BaseException:
            self._close()
            raise
        self._launch: Any = None  # the CUDA graph, once there is one
        self._set: tuple[int, ...] = ()  # shape that the buffers are for
        self.gpu_ms = 0.0
        """Between the events around the last run's kernels, without the copies."""

    def _only_input(self) -> tuple[TensorSpec, Shape]:
        inputs = [spec for spec in self._tensors.specs if spec.is_input]
        shapes = [tuple(n if n >= 0 else None for n in spec.shape) for spec in inputs]
        shape = only_input(shapes, self._where)
        if inputs[0].dtype not in (np.float32, np.float16, np.uint8):
            raise InputError(
                f"takes images of type {inputs[0].dtype}",
                where=self._where,
                hint="build an engine whose input is float32, float16 or uint8",
            )
        return inputs[0], shape

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where a profile takes several."""
        return self._shape[0]

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that the engine takes; None where they vary."""
        height, width = self._shape[1:3] if self._input.dtype == np.uint8 else self._shape[2:]
        return None if height is None or width is None else (height, width)

    @cached_property
    def detector(self) -> Detector:
        """The contract in the side-car, else in the ONNX file given as ``contract``."""
        if self._opened is not None and self._opened.metadata is not None:
            return detector_from_metadata(self._opened.metadata, self._where)
        if self._contract is None:
            raise InputError(
                "does not say what it detects: there is no side-car beside the engine",
                where=self._where,
                hint="name the ONNX file it was built from with --contract, or build it with: "
                "detq build",
            )
        return detector_from_metadata(
            load_model(self._contract).metadata_props, str(self._contract)
        )

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run images as the engine takes them; the arrays are the caller's to keep.

        Raises:
            InputError: they do not fit the engine.
            TargetError: the GPU or TensorRT failed.
        """
        pixels = self._input.dtype == np.uint8
        given = fitting(images, self._shape, self._where, pixels=pixels)
        if given.shape != self._set:
            self._prepare(given.shape)
        self._memory.write(self._input.name, given)
        start = self._device.mark()
        self._enqueue()
        end = self._device.mark()
        self._memory.fetch()
        self._device.synchronize()
        self.gpu_ms = self._device.elapsed_ms(start, end)
        found = self._memory.outputs()
        return {name: found[name] for name in self._order or found}

    def layer_times(self, images: NDArray[Any], runs: int) -> dict[str, list[float]]:
        """Milliseconds of every layer in ``runs`` runs, as TensorRT's profiler tells.

        The kernels run one by one then, so their sum is above the time of a run; and they do so
        from now on, in every run of this runner.
        """
        self._launch, self._cuda_graph = None, False  # a graph is one kernel to the profiler
        self(images)  # shapes and warm-up
        found: dict[str, list[float]] = {}
        self._profiler = new_profiler(found)  # TensorRT keeps no reference
        self._require_opened().context.profiler = self._profiler
        for _ in range(runs):
            self(images)
        return found

    def layer_information(self) -> str:
        """The engine inspector's JSON; layers are mere names if built without details."""
        import tensorrt as trt

        opened = self._require_opened()
        inspector = opened.engine.create_engine_inspector()
        inspector.execution_context = opened.context  # of the profile in use
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def _prepare(self, shape: tuple[int, ...]) -> None:
        limits = self._input.limits
        if limits and not any(one.take(shape) for one in limits):
            ranges = " or ".join(f"{written(one.least)} to {written(one.most)}" for one in limits)
            raise InputError(
                f"takes images of {ranges}, was given {written(shape)}",
                where=self._where,
                hint="build the engine for that size and batch",
            )
        self._set, self._launch = (), None
        self._device.synchronize()
        if not self._tensors.set_input_shape(self._input.name, shape, self._device.stream):
            raise self._failed("refuses the shape of the images")
        self._memory.fit()
        self._set = shape

    def _enqueue(self) -> None:
        if self._launch is not None:
            self._launch()
            return
        self._enqueue_kernels()
        if self._cuda_graph and not self._memory.growing:
            # The first run is done by itself: TensorRT prepares what a graph cannot hold.
            self._device.synchronize()
            self._launch = self._device.captured(self._enqueue_kernels)

    def _enqueue_kernels(self) -> None:
        if not self._tensors.enqueue(self._device.stream):
            raise self._memory.failure or self._failed("does not run")

    def _failed(self, what: str) -> TargetError:
        said = self._require_opened().said()
        return TargetError(
            f"{self.name} {what}{': ' if said else ''}{said}",
            where=self._where,
            hint="build the engine again on this machine: detq build",
        )

    def _require_opened(self) -> Opened:
        if self._opened is None:
            raise AssertionError("the runner is closed")
        return self._opened

    def _close(self) -> None:
        # Context and engine first: they hold device memory and know the stream.
        if self._opened is None:
            return
        for name in ("_tensors", "_memory", "_launch"):
            vars(self).pop(name, None)  # each holds the context
        self._opened.close()
        self._opened = None
        self._device.close()

    def __enter__(self) -> "TensorRtRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """Free the engine, its memory and the stream."""
        self._close()


def new_profiler(found: dict[str, list[float]]) -> "trt.IProfiler":
    """A profiler that adds the milliseconds of each layer to ``found``, run by run."""
    import tensorrt as trt

    class Profiler(trt.IProfiler):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()

        def report_layer_time(self, layer_name: str, ms: SupportsFloat) -> None:
            found.setdefault(layer_name, []).append(float(ms))

    return Profiler()
