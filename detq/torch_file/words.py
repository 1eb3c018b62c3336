"""The allow-table: every name a checkpoint may use and the record it becomes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detq.torch_file.inert import (
    Instance,
    Method,
    ModuleClass,
    Name,
    PickleError,
    Storage,
    StorageType,
    Tensor,
)

MOST_DIMENSIONS = 8
MOST_OF_KEY = 50  # characters; torch counts its storages
TORCH = r"torch\.nn\.modules"
INSIDE = r"(\.[A-Za-z_]\w{0,50}){1,8}"


@dataclass(frozen=True, slots=True)
class Call:
    """A function a checkpoint may call, and ours that makes the record.

    Attributes:
        name: full dotted name, for messages.
        make: from the arguments to the record; raises PickleError where they make no sense.
    """

    name: str
    make: Callable[..., object]


class TorchWords:
    """What the pickle of a checkpoint may say; see ``opcodes.Vocabulary``.

    Args:
        packages: whose classes it may name, beside those of torch.nn.

    Attributes:
        storages: the storages it spoke of, by key.
    """

    def __init__(self, packages: Sequence[str]) -> None:
        self.storages: dict[str, Storage] = {}
        known = "|".join([TORCH, *map(re.escape, packages)])
        self._class = re.compile(f"({known}){INSIDE}", re.ASCII)

    def find(self, module: str, name: str) -> object:
        """The record for a global.

        Raises:
            PickleError: any name that is not in the table, by its full dotted name.
        """
        full = f"{module}.{name}"
        if "." not in name and full in GLOBALS:
            return GLOBALS[full]
        if "." not in name and self._class.fullmatch(full):
            return ModuleClass(full)
        raise PickleError(
            f"refers to {full[:100]!r}, which no checkpoint of this kind needs; nothing was run"
        )

    def call(self, function: object, arguments: tuple[Any, ...]) -> object:
        """The record for a call of one of the table's functions, or for a bare new object."""
        if isinstance(function, ModuleClass) and arguments == ():
            return Instance(function.name)
        if not isinstance(function, Call):
            name = function.name if isinstance(function, (ModuleClass, Name)) else "an object"
            raise PickleError(f"calls {name}, which is not a function of a checkpoint")
        try:
            return function.make(*arguments)
        except PickleError as error:
            raise PickleError(f"is damaged: {function.name} was given {error}") from error
        except TypeError as error:
            raise PickleError(f"is damaged: wrong arguments for {function.name}") from error

    def build(self, target: object, state: Any) -> None:
        """Put a state into an instance; the little state of the others says nothing."""
        if isinstance(target, Instance):
            if type(state) is not dict or target.state:
                raise PickleError(f"is damaged: the state of {target.kind} is not a dict")
            target.state = state
        elif isinstance(target, np.dtype):
            if type(state) is not tuple or state[1:2] not in (("<",), ("|",), ("=",)):
                raise PickleError("holds numbers that are not little endian")
        elif type(target) is not dict:
            raise PickleError("is damaged: it sets the state of something that has none")

    def persistent(self, key: Any) -> object:
        """The record for a storage, or for a module class of the old file format."""
        match key:
            case ("storage", StorageType() as kind, str() as name, _, int() as count):
                return self._storage(name, kind, count)
            case ("storage", StorageType() as kind, str() as name, _, int() as count, None):
                return self._storage(name, kind, count)
            case ("module", ModuleClass() as kind, *_):
                return kind
        raise PickleError("is damaged: it refers to an unknown kind of record")

    def _storage(self, key: str, kind: StorageType, count: int) -> Storage:
        if len(key) > MOST_OF_KEY or not key.isprintable():
            raise PickleError("is damaged: a storage has no proper name")
        storage = self.storages.setdefault(key, Storage(key, kind, count))
        if count < 0 or storage != Storage(key, kind, count):
            raise PickleError(f"is damaged: storage {key} is described in two ways")
        return storage


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    """A view, refused unless every element lies in the storage and none is repeated."""
    if not isinstance(storage, Storage):
        raise PickleError("something that is not a storage")
    sizes, strides = _counts(size), _counts(stride)
    (first,) = _counts((offset,))
    if len(sizes) != len(strides):
        raise PickleError("a size and a stride of different lengths")
    tensor = Tensor(storage, first, sizes, strides)
    if tensor.count:
        last = first + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if last >= storage.count or tensor.count > storage.count:
            raise PickleError(
                f"a shape {list(sizes)} that lies outside the {storage.count} elements "
                f"of storage {storage.key}"
            )
    return tensor


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > MOST_DIMENSIONS:
        raise PickleError("a shape that is no list of numbers")
    if not all(type(n) is int and n >= 0 for n in value):
        raise PickleError("a shape with something else than whole numbers in it")
    return tuple(value)


def _parameter(tensor: object, *_: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise PickleError("something that is not a tensor")
    return tensor


def _empty_dict() -> dict[Any, Any]:
    return {}


def _set(items: object = ()) -> frozenset[Any]:
    """Content of the sets says nothing about the network; only small ones are read."""
    if not isinstance(items, (list, tuple)) or len(items) > 100:
        raise PickleError("something that is not a short list")
    return frozenset(item for item in items if isinstance(item, (str, int)))


def _method(owner: object, name: object) -> Method:
    if not isinstance(owner, Instance) or name not in ("forward", "forward_fuse"):
        raise PickleError(f"{_short(name)}, where only a module's forward_fuse is expected")
    return Method(str(name))


def _encoded(text: object, encoding: object) -> bytes:
    """How a pickle of protocol 2 spells bytes."""
    if not isinstance(text, str) or encoding != "latin1" or len(text) > 100:
        raise PickleError("something that is not a number's bytes")
    return text.encode("latin1")


def _dtype(code: object, *_: object) -> np.dtype[Any]:
    if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
        raise PickleError(f"{_short(code)}, which is not a number type")
    return np.dtype(str(code))


def _scalar(dtype: object, data: object) -> float | int | bool:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes):
        raise PickleError("something that is not a number")
    if len(data) != dtype.itemsize:
        raise PickleError(f"{len(data)} bytes for one {dtype}")
    number: float | int | bool = np.frombuffer(data, dtype)[0].item()
    return number


def _short(value: object) -> str:
    return repr(value[:60]) if isinstance(value, str) else f"a {type(value).__name__}"


def _shape(items: object = ()) -> tuple[int, ...]:
    return _counts(items)


def _device(*_: object) -> Name:
    return Name("torch.device")


CALLS: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": _empty_dict,
    "__builtin__.set": _set,
    "builtins.set": _set,
    "__builtin__.getattr": _method,
    "builtins.getattr": _method,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "torch.Size": _shape,
    "torch.device": _device,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
STORAGES = {
    "Half": "<f2",
    "Float": "<f4",
    "Double": "<f8",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "<i1",
    "Byte": "<u1",
    "Bool": "?",
}
TYPES = ("float16", "float32", "float64", "bfloat16", "int64", "int32", "uint8", "bool")
GLOBALS: Mapping[str, object] = {
    **{name: Call(name, make) for name, make in CALLS.items()},
    **{
        f"torch.{kind}Storage": StorageType(f"torch.{kind}Storage", np.dtype(code))
        for kind, code in STORAGES.items()
    },
    "torch.BFloat16Storage": StorageType("torch.BFloat16Storage", np.dtype("<u2"), bfloat16=True),
    **{f"torch.{kind}": Name(f"torch.{kind}") for kind in TYPES},
}
