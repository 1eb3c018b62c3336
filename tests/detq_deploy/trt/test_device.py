"""Every way to CUDA, on ``host_cuda``: memory of the host behind the functions of a GPU.

What is real here are the calls, their order and their arguments. No GPU has taken part.
"""

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from detq.errors import InputError, TargetError, TargetUnavailableError
from detq_deploy.trt import libcudart
from detq_deploy.trt.device import REACHES, Device, open_device
from tests.detq_deploy.trt.host_cuda import doubles
from tests.detq_deploy.trt.host_cuda.library import HostGpu, compiled

WAYS = ("cuda.bindings", "cuda.cudart", "libcudart", "pycuda", "torch")
Open = Callable[[], Device]


@pytest.fixture
def gpu(tmp_path: Path) -> HostGpu:
    return HostGpu(compiled(tmp_path))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, gpu: HostGpu, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a device in one of five ways."""
    name = str(request.param)
    if name.startswith("cuda."):
        module = doubles.cuda_python_on_host(gpu.path)
        full = "cuda.bindings.runtime" if name == "cuda.bindings" else "cuda.cudart"
        other = "cuda.cudart" if name == "cuda.bindings" else "cuda.bindings"
        monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
        monkeypatch.setitem(sys.modules, other, ModuleType(other))
        monkeypatch.setitem(sys.modules, full.rpartition(".")[0], ModuleType("cuda"))
        monkeypatch.delitem(sys.modules, "cuda.bindings.runtime", raising=False)
        monkeypatch.setitem(sys.modules, full, module)
        if name == "cuda.cudart":
            monkeypatch.delitem(sys.modules, "cuda.bindings", raising=False)
        return lambda: open_device("cuda-python")
    if name == "libcudart":
        monkeypatch.setattr(libcudart, "SONAMES", (gpu.path,))
        return lambda: open_device("libcudart")
    if name == "pycuda":
        for full, module in doubles.pycuda_on_host(gpu.path).items():
            monkeypatch.setitem(sys.modules, full, module)
        return lambda: open_device("pycuda")
    monkeypatch.setitem(sys.modules, "torch", doubles.torch_on_host(gpu.path))
    return lambda: open_device("torch")


def doubling(pointer: int, count: int) -> Callable[[], None]:
    """A kernel that doubles ``count`` bytes."""
    return lambda: np.multiply(seen(pointer, count), 2, out=seen(pointer, count))


def seen(pointer: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(pointer))


def test_copies_and_kernels_wait_their_turn(way: Open, gpu: HostGpu) -> None:
    device = way()
    assert any(word in device.name for word in ("cuda", "torch"))
    assert device.stream != 0  # the default stream
    memory = device.allocate(8)
    source, target = device.pinned(8), device.pinned(8)
    source[:], target[:] = np.arange(8), 0
    device.to_device(memory, source)
    gpu.launch(device.stream, doubling(memory, 8))
    device.to_host(target, memory)
    assert (gpu.waiting, target.tolist()) == (3, [0] * 8)
    device.synchronize()
    assert (gpu.waiting, target.tolist()) == (0, list(range(0, 16, 2)))
    del source, target
    device.free(memory)
    device.close()


def test_time_is_the_devices(way: Open, gpu: HostGpu) -> None:
    device = way()
    memory = device.allocate(4)
    start = device.mark()
    gpu.launch(device.stream, doubling(memory, 4))
    end = device.mark()
    device.synchronize()
    assert device.elapsed_ms(start, end) == 0.5  # two steps, as the library counts
    device.close()


def test_a_graph_is_put_in_at_once(way: Open, gpu: HostGpu) -> None:
    device = way()
    memory, target = device.allocate(4), device.pinned(4)
    target[:] = 1
    device.to_device(memory, target)

    def work() -> None:
        for _ in range(3):
            gpu.launch(device.stream, doubling(memory, 4))

    if device.name.startswith("pycuda"):
        with pytest.raises(TargetError, match="pycuda has no CUDA graphs"):
            device.captured(work)
    else:
        launch = device.captured(work)
        assert gpu.waiting == 1  # what was captured has not run
        launch()
        assert gpu.waiting == 4
        launch()
        device.to_host(target, memory)
        device.synchronize()
        assert target.tolist() == [64] * 4
    device.close()


def test_everything_is_given_back(way: Open, gpu: HostGpu) -> None:
    device = way()
    kept = device.allocate(16), device.pinned(16), device.mark()
    device.release(device.pinned(8))
    device.synchronize()
    owned_by_objects = device.name.startswith(("pycuda", "torch"))
    device.close()
    del kept
    gc.collect()
    # Their own objects hold stream and events to the end of the program.
    assert gpu.left == (2 if owned_by_objects else 0)
    if not owned_by_objects:
        device.close()  # a second time does nothing


def test_too_little_memory(way: Open, gpu: HostGpu) -> None:
    device = way()
    gpu.room(3 * 2**20)
    device.allocate(2**20)
    with pytest.raises(TargetError, match=r"no 4.0 MiB on the GPU, 2 of 3 MiB are free") as caught:
        device.allocate(4 * 2**20)
    assert "smaller batch" in caught.value.hint
    device.close()


def test_a_kernel_that_fails(way: Open, gpu: HostGpu) -> None:
    device = way()
    gpu.launch(device.stream, lambda: 1 / 0)
    with pytest.raises(TargetError, match=r"the GPU failed: .*unspecified launch failure"):
        device.synchronize()
    device.close()


def test_a_wrong_pointer_is_an_error_of_the_runtime(
    gpu: HostGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libcudart, "SONAMES", (gpu.path,))
    device = open_device("libcudart")
    memory, long = device.allocate(4), device.pinned(8)
    with pytest.raises(TargetError, match="cudaMemcpyAsync: invalid argument"):
        device.to_device(memory, long)
    device.close()


def test_the_newest_library_that_works_is_taken(
    gpu: HostGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libcudart, "SONAMES", ("libcudart.so.99", gpu.path))
    device = open_device("libcudart")
    assert device.name == "libcudart_on_host.so"
    device.close()


def test_nothing_reaches_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcudart, "SONAMES", ("libcudart.so.99",))
    for name in ("cuda", "cuda.bindings", "cuda.cudart", "pycuda", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TargetUnavailableError) as caught:
        open_device()
    for name in REACHES:
        assert f"{name}: " in caught.value.what
    assert "none of libcudart.so.99 is there" in caught.value.what
    assert "\n" not in str(caught.value)


def test_an_unknown_way() -> None:
    with pytest.raises(InputError, match="one of cuda-python, libcudart, pycuda, torch"):
        open_device("vulkan")  # type: ignore[arg-type]
