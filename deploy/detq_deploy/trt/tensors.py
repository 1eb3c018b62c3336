"""Inputs and outputs of an engine: by name, as TensorRT 8.5 and later have it, or by number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from detq_deploy.trt.dtypes import numpy_dtype

if TYPE_CHECKING:
    import tensorrt as trt

Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Shapes of an input that a profile of the engine takes."""

    least: Dims
    most: Dims

    def take(self, shape: Sequence[int]) -> bool:
        """Whether ``shape`` lies between them."""
        return len(shape) == len(self.most) and all(
            low <= n <= high for low, n, high in zip(self.least, shape, self.most, strict=True)
        )


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: the engine's.
        is_input: else an output.
        dtype: of its elements.
        shape: -1 where it varies.
        limits: of every optimization profile; none for an output.
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: Dims
    limits: tuple[Limits, ...] = ()


class Tensors(Protocol):
    """The inputs and outputs of an execution context."""

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """All of them, in the engine's order."""
        ...

    def set_input_shape(self, name: str, shape: Dims, stream: int) -> bool:
        """Choose the shape of an input, and a profile that takes it."""
        ...

    def shape(self, name: str) -> Dims:
        """Shape with the inputs as they are set; -1 where it depends on what is computed."""
        ...

    def bind(self, name: str, pointer: int) -> None:
        """Where on the device the tensor is."""
        ...

    def let_allocate(self, name: str, allocator: Any) -> None:
        """Let ``allocator`` find the memory of an output while the engine runs."""
        ...

    def enqueue(self, stream: int) -> bool:
        """Put one run into the stream; False where TensorRT refuses."""
        ...


def tensors_of(engine: "trt.ICudaEngine", context: "trt.IExecutionContext") -> Tensors:
    """By name where this TensorRT can, else by number."""
    if hasattr(engine, "num_io_tensors"):
        return NamedTensors(engine, context)
    return NumberedTensors(engine, context)


class NamedTensors:
    """``set_tensor_address`` and ``execute_async_v3``: TensorRT 8.5 and later."""

    def __init__(self, engine: "trt.ICudaEngine", context: "trt.IExecutionContext") -> None:
        self._context = context
        self._profile = 0
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.specs = tuple(_spec(engine, name) for name in names)

    def set_input_shape(self, name: str, shape: Dims, stream: int) -> bool:
        """Change the profile where the present one does not take the shape."""
        spec = next(spec for spec in self.specs if spec.name == name)
        fit = [index for index, limits in enumerate(spec.limits) if limits.take(shape)]
        if fit and self._profile not in fit:
            if not self._context.set_optimization_profile_async(fit[0], stream):
                return False
            self._profile = fit[0]
        dims: Any = shape  # the bindings make Dims of it
        return bool(self._context.set_input_shape(name, dims))

    def shape(self, name: str) -> Dims:
        """``get_tensor_shape`` of the context."""
        return _sizes(self._context.get_tensor_shape(name))

    def bind(self, name: str, pointer: int) -> None:
        """``set_tensor_address``."""
        self._context.set_tensor_address(name, pointer)

    def let_allocate(self, name: str, allocator: Any) -> None:
        """``set_output_allocator``."""
        self._context.set_output_allocator(name, allocator)

    def enqueue(self, stream: int) -> bool:
        """``execute_async_v3``."""
        return bool(self._context.execute_async_v3(stream))


def _spec(engine: "trt.ICudaEngine", name: str) -> TensorSpec:
    import tensorrt as trt

    is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
    profiles = range(engine.num_optimization_profiles) if is_input else range(0)
    shapes = [engine.get_tensor_profile_shape(name, index) for index in profiles]
    return TensorSpec(
        name=name,
        is_input=is_input,
        dtype=numpy_dtype(engine.get_tensor_dtype(name)),
        shape=_sizes(engine.get_tensor_shape(name)),
        limits=tuple(Limits(_sizes(least), _sizes(most)) for least, _, most in shapes),
    )


class NumberedTensors:
    """Bindings and ``execute_async_v2``: TensorRT 8.4 of JetPack 5.0, one profile."""

    def __init__(self, engine: Any, context: Any) -> None:
        self._context = context
        count = engine.num_bindings
        self.specs = tuple(_numbered_spec(engine, index) for index in range(count))
        self._index = {spec.name: index for index, spec in enumerate(self.specs)}
        self._pointers = [0] * count

    def set_input_shape(self, name: str, shape: Dims, stream: int) -> bool:
        """``set_binding_shape``."""
        return bool(self._context.set_binding_shape(self._index[name], shape))

    def shape(self, name: str) -> Dims:
        """``get_binding_shape`` of the context."""
        return _sizes(self._context.get_binding_shape(self._index[name]))

    def bind(self, name: str, pointer: int) -> None:
        """Kept for ``enqueue``."""
        self._pointers[self._index[name]] = pointer

    def let_allocate(self, name: str, allocator: Any) -> None:
        """TensorRT 8.4 knows every shape before it runs."""
        raise AssertionError(f"{name} has no shape")

    def enqueue(self, stream: int) -> bool:
        """``execute_async_v2``."""
        return bool(self._context.execute_async_v2(self._pointers, stream))


def _numbered_spec(engine: Any, index: int) -> TensorSpec:
    is_input = bool(engine.binding_is_input(index))
    profiles = range(engine.num_optimization_profiles) if is_input else range(0)
    shapes = [engine.get_profile_shape(profile, index) for profile in profiles]
    return TensorSpec(
        name=str(engine.get_binding_name(index)),
        is_input=is_input,
        dtype=numpy_dtype(engine.get_binding_dtype(index)),
        shape=_sizes(engine.get_binding_shape(index)),
        limits=tuple(Limits(_sizes(least), _sizes(most)) for least, _, most in shapes[:1]),
    )


def _sizes(dims: Any) -> Dims:
    return tuple(int(dims[place]) for place in range(len(dims)))  # Dims cannot be iterated over
