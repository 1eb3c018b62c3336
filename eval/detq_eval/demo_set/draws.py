"""Random whole numbers that are the same on every machine and with every release of numpy.

NumPy promises the raw stream of a bit generator, not what ``Generator`` makes of it, so all
draws are made from the stream here.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Draws:
    """Numbers of one picture: the same seed and number give the same stream."""

    def __init__(self, seed: int, number: int):
        self._bits = np.random.PCG64([seed, number])

    def below(self, end: int) -> int:
        """A whole number 0 to ``end - 1``."""
        return (int(self._bits.random_raw()) >> 32) * end >> 32

    def between(self, first: int, last: int) -> int:
        """A whole number ``first`` to ``last``, both included."""
        return first + self.below(last - first + 1)

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.below(len(choices))]

    def octets(self, *shape: int) -> NDArray[np.uint8]:
        """An array of numbers 0 to 255."""
        count = int(np.prod(shape))
        raw = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return raw.view(np.uint8)[:count].reshape(shape)

    def colour(self) -> NDArray[np.int64]:
        """Three numbers 0 to 255."""
        return self.octets(3).astype(np.int64)
