"""Units that are done, on disk: a killed calibration goes on behind the last whole stage."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from detq.learn.learned import UnitLoss
from detq.whole_file import written_whole

_HEADER = "header"


class _Header(msgspec.Struct, frozen=True):
    key: str
    losses: tuple[tuple[str, float, float], ...]


class Finished:
    """Parameters and loss of every unit that is done.

    Args:
        path: where ``save`` writes to; nowhere if None.
        key: of what is learned.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self._key = path, key
        self.losses: dict[str, UnitLoss] = {}
        self._arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}

    @classmethod
    def open(cls, path: Path | None, key: str) -> "Finished":
        """What an earlier run left, if it was learning the same; else nothing is done yet."""
        found = cls(path, key)
        if path is None or not path.is_file():
            return found
        with np.load(path) as archive:
            header = msgspec.json.decode(archive[_HEADER].tobytes(), type=_Header)
            if header.key == key:
                found.losses = {name: UnitLoss(name, *pair) for name, *pair in header.losses}
                found._arrays = {name: archive[name] for name in archive.files if name != _HEADER}
        return found

    def __contains__(self, unit: str) -> bool:
        return unit in self.losses

    def parameters(self, unit: str, device: str) -> Mapping[str, Tensor]:
        """What the unit changed."""
        start = f"{unit}\n"
        return {
            name.removeprefix(start): torch.from_numpy(array.copy()).to(device)
            for name, array in self._arrays.items()
            if name.startswith(start)
        }

    def add(self, loss: UnitLoss, changed: Mapping[str, Tensor]) -> None:
        """A unit is done."""
        self.losses[loss.name] = loss
        self._arrays.update((f"{loss.name}\n{k}", x.cpu().numpy()) for k, x in changed.items())

    def save(self) -> None:
        """Write all units, whole or not at all."""
        if self._path is None:
            return
        losses = tuple((x.name, x.before, x.after) for x in self.losses.values())
        header = msgspec.json.encode(_Header(self._key, losses))
        arrays = {**self._arrays, _HEADER: np.frombuffer(header, np.uint8)}
        with written_whole(self._path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
