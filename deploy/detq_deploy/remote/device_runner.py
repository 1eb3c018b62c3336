"""Runs models for detq on another machine: ``--on`` copies this one file there and starts it.

Python 3.8 (JetPack 5), NumPy and TensorRT's own Python package are enough: CUDA is reached by
ctypes. Where detq itself is installed, its runners are used, for any of its engines.

::

    device_runner.py serve MODEL [BACKEND]      images on standard input, arrays on standard output
    device_runner.py bench ROUNDS BURST_MS ENGINE [ENGINE ...]

Both say JSON lines; behind a line that names ``bytes`` come so many, packed by zlib. What serves
ends with its standard input, so it never outlives the connection.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorrt as trt
    from numpy.typing import NDArray  # younger than the NumPy of JetPack 5

_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32",
    "INT64": "int64", "BOOL": "bool",
}  # fmt: skip
_CUDART = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
_CLOCKS = ("cur_freq", "max_freq")
_WARM_UP_S = 0.5
_PACK = 1  # zlib's quickest: a cable is seldom quicker than that


class RefusedError(Exception):
    """Something the user can mend: what, and the remedy."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


# What both sides say.


def write_message(stream: IO[bytes], head: dict[str, Any], body: bytes = b"") -> None:
    """One JSON line, and the bytes behind it."""
    packed = zlib.compress(body, _PACK) if body else b""
    stream.write(json.dumps({**head, "bytes": len(packed)}).encode() + b"\n" + packed)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where there is no more."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    packed = stream.read(head["bytes"]) if head["bytes"] else b""
    if len(packed) < head["bytes"]:
        return None
    return head, unpacked(packed)


def unpacked(packed: bytes) -> bytes:
    """What stands behind a line."""
    return zlib.decompress(packed) if packed else b""


def array_from(head: dict[str, Any], body: bytes) -> NDArray[Any]:
    """The array of a request; with a scale its bytes stand for float32."""
    array: NDArray[Any] = np.frombuffer(body, head["dtype"]).reshape(head["shape"])
    return array if head.get("scale") is None else levels(head["scale"])[array]


def levels(scale: float) -> NDArray[Any]:
    """What bytes stand for, float32 [256]."""
    values: NDArray[Any] = (np.arange(256) * scale).astype(np.float32)
    return values


def arrays_from(head: dict[str, Any], body: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an answer."""
    found, at = {}, 0
    for name, dtype, shape in head["outputs"]:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(body, dtype, count, at).reshape(shape)
        found[name] = array.copy()
        at += array.nbytes
    return found


def only_candidates(rows: NDArray[Any], above: float) -> NDArray[Any]:
    """Rows [B, L, 5 + nc] without those of which no score can be above ``above``.

    As many rows for every image as the fullest needs, those behind its own are 0.
    """
    sure = (rows[..., 4] > above) & (rows[..., 5:].max(axis=2) > above)
    most = int(sure.sum(axis=1).max()) if len(rows) else 0
    kept = np.zeros((rows.shape[0], most, rows.shape[2]), rows.dtype)
    for image, marks, target in zip(rows, sure, kept):
        chosen = image[marks]
        target[: len(chosen)] = chosen
    return kept


# CUDA, by ctypes.


class Cuda:
    """The first GPU: memory, one stream, events."""

    def __init__(self) -> None:
        self.gpu, self.sm = _gpu()
        self._library = _cudart()
        self.stream = self._made("cudaStreamCreateWithFlags", ctypes.c_uint(1))
        self._events = [self._made("cudaEventCreate") for _ in range(2)]

    def allocate(self, size: int) -> int:
        """Memory of the device."""
        return self._made("cudaMalloc", ctypes.c_size_t(max(size, 1)))

    def pinned(self, size: int) -> NDArray[Any]:
        """Memory of the host that the device reads and writes by itself, uint8 [size]."""
        address = self._made("cudaHostAlloc", ctypes.c_size_t(max(size, 1)), ctypes.c_uint(0))
        memory: Any = (ctypes.c_uint8 * size).from_address(address)
        return np.frombuffer(memory, np.uint8)

    def free(self, pointer: int, pinned: int) -> None:
        """Give both back."""
        self._call("cudaFree", _pointer(pointer))
        self._call("cudaFreeHost", _pointer(pinned))

    def copy(self, target: int, source: int, size: int, kind: int) -> None:
        """Into the stream: to the device (kind 1) or from it (2)."""
        self._call("cudaMemcpyAsync", _pointer(target), _pointer(source), ctypes.c_size_t(size),
                   ctypes.c_int(kind), _pointer(self.stream))  # fmt: skip

    def mark(self, end: bool) -> None:
        """Note the time in the stream, at the start or the end of something."""
        self._call("cudaEventRecord", _pointer(self._events[end]), _pointer(self.stream))

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._call("cudaStreamSynchronize", _pointer(self.stream))

    def elapsed_ms(self) -> float:
        """Between the last two marks, when the stream is done."""
        found = ctypes.c_float()
        start, end = self._events
        self._call("cudaEventElapsedTime", ctypes.byref(found), _pointer(start), _pointer(end))
        return found.value

    def _made(self, function: str, *inputs: Any) -> int:
        found = ctypes.c_void_p()
        self._call(function, ctypes.byref(found), *inputs)
        return found.value or 0

    def _call(self, function: str, *inputs: Any) -> None:
        status = getattr(self._library, function)(*inputs)
        if status != 0:
            text = self._library.cudaGetErrorString(status).decode()
            raise RefusedError(f"{function}: {text}", "end other programs on the GPU")


def _pointer(value: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(value)


def _cudart() -> Any:
    wheels = [f"{entry}/nvidia/*/lib" for entry in sys.path if entry]
    folders = ["", *("/usr/local/cuda/lib64/", "/usr/local/cuda/targets/*/lib/")]
    names = [folder + soname for soname in _CUDART for folder in folders]
    names += [f"{folder}/{soname}" for soname in _CUDART for folder in wheels]
    refused = ""  # by the driver: the library is newer
    for name in names:
        for path in glob.glob(name) if "/" in name else [name]:
            try:
                library = ctypes.CDLL(path)
            except OSError:
                continue
            library.cudaGetErrorString.restype = ctypes.c_char_p
            left, whole = ctypes.c_size_t(), ctypes.c_size_t()
            status = library.cudaMemGetInfo(ctypes.byref(left), ctypes.byref(whole))
            if status == 0:
                return library
            refused = refused or library.cudaGetErrorString(status).decode()
    missing = f"none of {', '.join(_CUDART)} is there"
    raise RefusedError(refused or missing, "install the CUDA runtime of the JetPack")


def _gpu() -> tuple[str, str]:
    """Name and architecture, by the driver alone."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise RefusedError("there is no NVIDIA driver", "is this a Jetson?") from None
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        raise RefusedError("the NVIDIA driver finds no GPU", "try nvidia-smi, or tegrastats")
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, 256, device)
    numbers = []
    for attribute in (75, 76):  # compute capability, major and minor
        found = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(found), attribute, device)
        numbers.append(found.value)
    return name.value.decode(), f"sm{numbers[0]}{numbers[1]}"


# An engine in TensorRT.


class Tensor:
    """An input or output: its place on the device and on the host."""

    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...], is_input: bool) -> None:
        self.name, self.dtype, self.is_input = name, np.dtype(dtype), is_input
        self.declared = self.shape = shape
        self.pointer = 0
        self.host: NDArray[Any] = np.zeros(0, np.uint8)

    def fit(self, cuda: Cuda, shape: tuple[int, ...]) -> None:
        """Make room for ``shape``."""
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        self.shape = shape
        if size == self.host.size and self.pointer:
            return
        if self.pointer:
            cuda.free(self.pointer, self.host.ctypes.data)
        self.pointer, self.host = cuda.allocate(size), cuda.pinned(size)

    @property
    def array(self) -> NDArray[Any]:
        """What is on the host."""
        found: NDArray[Any] = self.host.view(self.dtype).reshape(self.shape)
        return found


class Engine:
    """A plan on the first GPU, which is asked first: TensorRT 8 crashes where there is none."""

    def __init__(self, path: str, cuda: Cuda) -> None:
        import tensorrt as trt

        self.cuda = cuda

        self.version = str(trt.__version__)
        self.title = f"TensorRT {self.version} on {self.cuda.gpu} ({self.cuda.sm})"
        car = _side_car(path)
        _check(car, self.version, self.cuda)
        order = [output["name"] for output in car.get("outputs", [])]
        self._log = trt.Logger(trt.ILogger.Severity.ERROR)
        if hasattr(trt, "init_libnvinfer_plugins"):
            trt.init_libnvinfer_plugins(self._log, "")
        self._runtime = trt.Runtime(self._log)
        settings = car.get("settings", {})
        if settings.get("dla_core") is not None:
            self._runtime.DLA_core = settings["dla_core"]
        if settings.get("version_compatible") and hasattr(
            self._runtime, "engine_host_code_allowed"
        ):
            self._runtime.engine_host_code_allowed = True  # the plan brings code of its own
        with open(path, "rb") as file:
            engine = self._runtime.deserialize_cuda_engine(file.read())
        if engine is None:
            raise RefusedError(
                f"{self.title} does not take {os.path.basename(path)}",
                "build the engine there, with detq build --on",
            )
        self._engine = engine
        context = engine.create_execution_context()
        if context is None:
            raise RefusedError(
                f"{self.title} has too little memory for the engine", "end other programs"
            )
        self._context: Any = context
        self._named = hasattr(engine, "num_io_tensors")
        self.tensors = _named_tensors(engine) if self._named else _numbered_tensors(engine)
        self._outputs = [tensor for tensor in self.tensors if not tensor.is_input]
        self._outputs.sort(key=lambda tensor: order.index(tensor.name) if order else 0)
        self._input = next(tensor for tensor in self.tensors if tensor.is_input)
        self._set: tuple[int, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the images, -1 where it varies."""
        return self._input.declared

    @property
    def input_dtype(self) -> str:
        """Of the images."""
        return str(self._input.dtype)

    def run(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Images to arrays; half precision comes back as float32."""
        self.enqueue(images)
        self.cuda.synchronize()
        return {
            tensor.name: tensor.array.astype(
                np.float32 if tensor.dtype == np.float16 else tensor.dtype
            )
            for tensor in self._outputs
        }

    def enqueue(self, images: NDArray[Any]) -> None:
        """Copies, kernels and marks around the kernels, into the stream."""
        if images.shape != self._set:
            self._fit(images.shape)
        source = self._input
        np.copyto(source.array, images, casting="same_kind")
        self.cuda.copy(source.pointer, source.host.ctypes.data, source.host.size, 1)
        self.cuda.mark(False)
        self._enqueue()
        self.cuda.mark(True)
        for tensor in self._outputs:
            self.cuda.copy(tensor.host.ctypes.data, tensor.pointer, tensor.host.size, 2)

    def _enqueue(self) -> None:
        if self._named:
            done = self._context.execute_async_v3(self.cuda.stream)
        else:
            pointers = [tensor.pointer for tensor in self.tensors]
            done = self._context.execute_async_v2(pointers, self.cuda.stream)
        if not done:
            raise RefusedError(f"{self.title} does not run the engine", "build it there again")

    def _fit(self, shape: tuple[int, ...]) -> None:
        if self._named:
            taken = self._context.set_input_shape(self._input.name, shape)
        else:
            taken = self._context.set_binding_shape(self.tensors.index(self._input), shape)
        if not taken:
            raise RefusedError(f"the engine takes no images of {shape}", "build it for that batch")
        for index, tensor in enumerate(self.tensors):
            if self._named:
                found = tuple(self._context.get_tensor_shape(tensor.name))
            else:
                found = tuple(self._context.get_binding_shape(index))
            if min(found, default=0) < 0:
                raise RefusedError(
                    f"the size of {tensor.name} depends on what is found",
                    "install detq there, or leave the suppression out of the file",
                )
            tensor.fit(self.cuda, found)
            if self._named:
                self._context.set_tensor_address(tensor.name, tensor.pointer)
        self._set = shape


def _side_car(path: str) -> dict[str, Any]:
    """What detq wrote beside an engine; nothing where it did not."""
    if not os.path.exists(f"{path}.json"):
        return {}
    with open(f"{path}.json") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _check(car: dict[str, Any], version: str, cuda: Cuda) -> None:
    """Refuse an engine of another version or GPU before TensorRT sees it."""
    if not car:
        return
    built, settings = car["machine"], car.get("settings", {})
    numbers = list(zip(built["tensorrt"].split("."), version.split(".")))  # some leave out the last
    same_version = settings.get("version_compatible") or all(a == b for a, b in numbers)
    same_gpu = settings.get("hardware", "none") == "ampere" or built["sm"] == cuda.sm
    if not same_version or not same_gpu:
        raise RefusedError(
            f"the engine was built with TensorRT {built['tensorrt']} on {built.get('gpu')} "
            f"({built['sm']}), here is {version} on {cuda.gpu} ({cuda.sm})",
            "build it there: detq build --on",
        )


def _named_tensors(engine: trt.ICudaEngine) -> list[Tensor]:
    import tensorrt as trt

    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return [
        Tensor(
            name,
            _dtype(engine.get_tensor_dtype(name)),
            tuple(engine.get_tensor_shape(name)),
            engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
        )
        for name in names
    ]


def _numbered_tensors(engine: Any) -> list[Tensor]:
    """Of TensorRT 8.4, that of JetPack 5.0."""
    return [
        Tensor(
            engine.get_binding_name(index),
            _dtype(engine.get_binding_dtype(index)),
            tuple(engine.get_binding_shape(index)),
            engine.binding_is_input(index),
        )
        for index in range(engine.num_bindings)
    ]


def _dtype(dtype: Any) -> str:
    if dtype.name not in _DTYPES:
        raise RefusedError(f"NumPy has no {dtype.name}", "write the file with float outputs")
    return _DTYPES[dtype.name]


# The two programs.


def serve(requests: IO[bytes], replies: IO[bytes], path: str, backend: str) -> None:
    """Run images until there are no more."""
    run, hello = _opened(path, backend)
    write_message(replies, {"hello": hello})
    while True:
        message = read_message(requests)
        if message is None:
            return
        head, body = message
        outputs = run(array_from(head, body))
        if head.get("above") is not None:
            first = next(iter(outputs))
            if outputs[first].ndim == 3 and outputs[first].shape[2] == head["columns"]:
                outputs[first] = only_candidates(outputs[first], head["above"])
        arrays = {name: np.ascontiguousarray(array) for name, array in outputs.items()}
        described = [[name, str(a.dtype), list(a.shape)] for name, a in arrays.items()]
        write_message(
            replies, {"outputs": described}, b"".join(a.tobytes() for a in arrays.values())
        )


def _opened(path: str, backend: str) -> tuple[Any, dict[str, Any]]:
    if backend:
        return _opened_by_detq(path, backend)
    engine = Engine(path, Cuda())
    hello = {
        "name": engine.title, "isa": engine.cuda.sm, "batch": engine.input_shape[0],
        "caution": "",
    }  # fmt: skip
    return engine.run, hello


def _opened_by_detq(path: str, backend: str) -> tuple[Any, dict[str, Any]]:
    from pathlib import Path

    from detq.errors import DetqError
    from detq_deploy.backends import open_runner

    try:
        runner = open_runner(backend, Path(path), busy_cores=True)
        isa = getattr(runner, "isa", "")
        if not isa:
            from detq_deploy.cpu import cpu_features

            isa = cpu_features().isa_label
    except DetqError as error:
        raise RefusedError(error.what, error.hint) from error

    def run(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        try:
            return dict(runner(images))
        except DetqError as error:
            raise RefusedError(error.what, error.hint) from error

    hello = {
        "name": runner.name, "isa": isa, "batch": runner.batch or -1,
        "caution": getattr(runner, "caution", ""),
    }  # fmt: skip
    return run, hello


def bench(replies: IO[bytes], rounds: int, burst_ms: float, paths: list[str]) -> None:
    """Time engines in turn: a line with milliseconds per run for every burst."""
    cuda = Cuda()
    engines = [Engine(path, cuda) for path in paths]
    feeds = [_noise(engine) for engine in engines]
    said = [{"name": e.title, "shape": list(feed.shape)} for e, feed in zip(engines, feeds)]
    cores = sorted(os.sched_getaffinity(0))
    cpu = {"text": _text("/proc/cpuinfo"), "architecture": platform.machine(), "usable": cores}
    write_message(
        replies, {"engines": said, "cpu": cpu, "load": os.getloadavg()[0], "gpu": state()}
    )
    for engine, feed in zip(engines, feeds):
        _burst(engine, feed, _WARM_UP_S * 1000)
    order = list(range(len(engines)))
    for number in range(rounds):
        for index in order:
            timed = _burst(engines[index], feeds[index], burst_ms)
            write_message(replies, {"round": number + 1, "engine": index, "timed": timed})
        order.reverse()
    write_message(replies, {"gpu": state()})


def _burst(engine: Engine, feed: NDArray[Any], burst_ms: float) -> dict[str, Any]:
    """Milliseconds per image of every run."""
    batch = feed.shape[0]
    wall: list[float] = []
    gpu: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    while len(wall) < 2 or (time.perf_counter() - start) * 1000 < burst_ms:
        before = time.perf_counter()
        engine.enqueue(feed)
        engine.cuda.synchronize()
        wall.append((time.perf_counter() - before) * 1000 / batch)
        gpu.append(engine.cuda.elapsed_ms() / batch)
    return {
        "wall_ms": wall, "gpu_ms": gpu,
        "cpu_ms": (time.process_time() - cpu) * 1000 / batch / len(wall),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def _noise(engine: Engine) -> NDArray[Any]:
    shape = tuple(1 if n < 0 and at == 0 else n for at, n in enumerate(engine.input_shape))
    if min(shape) < 0:
        raise RefusedError(
            "the engine takes any size of image", "build it for one: detq build --size"
        )
    noise = np.random.RandomState(0)
    if engine.input_dtype == "uint8":
        return noise.randint(0, 256, shape).astype(np.uint8)
    return noise.random_sample(shape).astype(np.float32)


def state() -> dict[str, Any] | None:
    """Clocks and power mode of a Jetson, read and never changed; None elsewhere."""
    folders = [f for f in glob.glob("/sys/class/devfreq/*") if re.search(r"gpu|g[abv]1[01]b", f)]
    clocks = [_text(f"{folder}/{name}") for folder in folders[:1] for name in _CLOCKS]
    if not clocks or not all(clock.isdigit() for clock in clocks):
        return None
    try:
        told = subprocess.run(["nvpmodel", "-q"], stdout=subprocess.PIPE, timeout=5).stdout.decode()
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    mode = re.search(r"Power Mode: *(.+)", told)
    return {
        "power_mode": mode.group(1).strip() if mode else "",
        "clock_mhz": int(clocks[0]) / 1e6, "highest_mhz": int(clocks[1]) / 1e6,
        "governor": _text(f"{folders[0]}/governor"),
    }  # fmt: skip


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def main(words: list[str]) -> int:
    """Serve or time, until the end of standard input."""
    # Standard output for us alone: what TensorRT prints goes to standard error.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        if words[0] == "serve":
            serve(sys.stdin.buffer, replies, words[1], words[2] if len(words) > 2 else "")
        else:
            bench(replies, int(words[1]), float(words[2]), words[3:])
    except RefusedError as error:
        write_message(replies, {"error": error.what, "hint": error.hint})
        return 1
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
