"""Values of all images, row by row; what goes beyond the budget lies on disk."""

import tempfile

import numpy as np
import torch
from torch import Tensor


class Store:
    """Float32 tensors [images, ...] by name.

    Args:
        count: number of images.
        budget: bytes of memory; what is written beyond goes into files that vanish by
            themselves, in the system's folder for temporary files.
        device: where rows are wanted.
    """

    def __init__(self, count: int, budget: int, device: str = "cpu") -> None:
        self.count, self.device = count, device
        self.in_memory = self.on_disk = 0
        self._budget = budget
        self._rows: dict[str, Tensor] = {}
        self._spilt: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def names(self) -> tuple[str, ...]:
        """What is held."""
        return tuple(self._rows)

    def hold(self, name: str, tensor: Tensor) -> None:
        """Take a tensor of all images as it is, without a copy."""
        self._rows[name] = tensor
        self.in_memory += tensor.nbytes

    def write(self, name: str, start: int, rows: Tensor) -> None:
        """Keep some rows from ``start`` on; the first write makes room for all."""
        if name not in self._rows:
            self._rows[name] = self._room(name, (self.count, *rows.shape[1:]))
        self._rows[name][start : start + len(rows)] = rows.detach().cpu()

    def read(self, name: str, rows: slice | Tensor) -> Tensor:
        """Some rows, contiguous."""
        return self._rows[name][rows].to(self.device, torch.float32).contiguous()

    def drop(self, name: str) -> None:
        """Forget a value."""
        tensor = self._rows.pop(name)
        if name in self._spilt:
            self._spilt.remove(name)
            self.on_disk -= tensor.nbytes
        else:
            self.in_memory -= tensor.nbytes

    def _room(self, name: str, shape: tuple[int, ...]) -> Tensor:
        size = 4 * int(np.prod(shape))
        if self.in_memory + size <= self._budget:
            self.in_memory += size
            return torch.empty(shape)
        self._spilt.add(name)
        self.on_disk += size
        with tempfile.TemporaryFile() as file:  # the mapping keeps it alive
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
