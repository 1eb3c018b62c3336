"""The one face of every engine: images in, named arrays out."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from detq.detection import Detector


class Runner(Protocol):
    """A model loaded into an engine."""

    @property
    def name(self) -> str:
        """Engine and version, for the result page."""
        ...

    @property
    def detector(self) -> Detector:
        """The contract read from the file."""
        ...

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where any is taken."""
        ...

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run float32 [B, 3, H, W], or uint8 [B, H, W, 3] where ``detector`` takes pixels.

        The arrays are the caller's to keep.
        """
        ...

    def __enter__(self) -> "Runner": ...

    def __exit__(self, *error: object) -> None:
        """Free the engine."""
        ...
