"""From the records of a pickle to the tree of modules, every array checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.torch_file.inert import Instance, PickleError, Tensor
from detq.torch_file.module import Module
from detq.torch_file.unpickle import TorchFile, array_of

DEEPEST = 32  # levels of modules; detectors have about ten
MOST_ATTRIBUTES = 500_000  # a module has about 25
NAME = re.compile(r"\w{1,100}", re.ASCII)
OWN = ("_parameters", "_buffers", "_modules")


@dataclass(slots=True)
class TreeReader:
    """Reads modules out of one file.

    Attributes:
        file: where the arrays are.
        prefix: of the names in messages, such as ``model.``.
        bytes_read: of arrays so far; a file cannot hold more than twice its size, shared
            arrays included.
        attributes_read: so far, a shared module's each time.
        seen: identities of modules with content, each allowed in one place.
    """

    file: TorchFile
    prefix: str
    bytes_read: int = 0
    attributes_read: int = 0
    seen: set[int] = field(default_factory=set)

    def module(self, record: object, path: str = "", depth: int = 0) -> Module:
        """The module of a record.

        Raises:
            PickleError: it is no module, holds itself, or an array is missing or not finite.
        """
        if not isinstance(record, Instance) or depth > DEEPEST:
            raise PickleError(f"is damaged: {self.prefix}{path} is not a module")
        self.attributes_read += len(record.state)
        if self.attributes_read > MOST_ATTRIBUTES:
            raise PickleError(f"is damaged: more than {MOST_ATTRIBUTES} attributes of modules")
        _check_names(record, record.state)
        parameters, buffers, modules = (_table(record, key) for key in OWN)
        self._enter_once(record, path, parameters, buffers, modules)
        arrays = {
            name: self._array(tensor, _join(path, name))
            for name, tensor in (*parameters.items(), *buffers.items())
            if tensor is not None
        }
        children = {
            name: self.module(child, _join(path, name), depth + 1)
            for name, child in modules.items()
            if child is not None
        }
        attributes = {
            name: self._attribute(value, _join(path, name))
            for name, value in record.state.items()
            if not name.startswith("_")
        }
        left_out = {name: None for name, child in modules.items() if child is None}
        return Module(record.kind, path, {**attributes, **left_out}, arrays, children)

    def _enter_once(self, record: Instance, path: str, *content: Mapping[str, Any]) -> None:
        # Activations without content are shared all over a network; anything else that
        # comes twice would make a small file a graph without end.
        if not any(content):
            return
        if id(record) in self.seen:
            raise PickleError(f"is damaged: the module {self.prefix}{path} is also elsewhere")
        self.seen.add(id(record))

    def _array(self, tensor: object, path: str) -> NDArray[Any]:
        if not isinstance(tensor, Tensor):
            raise PickleError(f"is damaged: {self.prefix}{path} is not an array")
        self.bytes_read += tensor.storage.count * tensor.storage.kind.dtype.itemsize
        if self.bytes_read > 2 * self.file.limit:
            raise PickleError(f"is damaged: its arrays claim more than the file holds, at {path}")
        array = array_of(self.file, tensor)
        if array.dtype.kind != "f":
            return array
        with np.errstate(over="ignore"):  # float64 beyond float32 is found by the next line
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise PickleError(f"holds NaN or infinity in {self.prefix}{path}")
        return array

    def _attribute(self, value: object, path: str) -> object:
        if isinstance(value, Tensor):
            return self._array(value, path)
        return value


def _table(record: Instance, key: str) -> dict[str, Any]:
    found = record.state.get(key)
    if type(found) is not dict:
        raise PickleError(f"is damaged: a {record.kind} has no {key}")
    _check_names(record, found)
    return found


def _check_names(record: Instance, table: Mapping[Any, Any]) -> None:
    # They become paths, node names and parts of messages.
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in table):
        raise PickleError(f"is damaged: something in a {record.kind} has no proper name")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
