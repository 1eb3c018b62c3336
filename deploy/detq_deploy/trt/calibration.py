"""A calibration cache for the builder: the one way to INT8 on DLA before TensorRT 11.4."""

from pathlib import Path
from typing import Any

from detq.errors import TargetError
from detq.whole_file import told


def new_calibrator(cache: Path) -> Any:
    """A calibrator that has its scales from a file and never looks at images.

    It has to outlive the build.

    Args:
        cache: written by ``detq export --strip``.

    Raises:
        TargetError: this TensorRT has no calibrators.
        InputError: the file cannot be read.
    """
    import tensorrt as trt

    if not hasattr(trt, "IInt8EntropyCalibrator2"):
        raise TargetError(
            f"TensorRT {trt.__version__} takes no calibration cache", where=str(cache),
            hint="build the Q/DQ file of this version instead",
        )  # fmt: skip
    with told(cache, "cannot be read"):
        content = cache.read_bytes()

    class FromFile(trt.IInt8EntropyCalibrator2):  # type: ignore[misc,name-defined,unused-ignore]
        """Scales of a file."""

        def __init__(self) -> None:
            super().__init__()

        def get_batch_size(self) -> int:
            """Of the images that it does not have."""
            return 1

        def get_batch(self, names: Any) -> Any:
            """No images: what the file does not name stays float."""
            return None

        def read_calibration_cache(self) -> bytes:
            """The file."""
            return content

        def write_calibration_cache(self, cache: Any) -> None:
            """Nothing new was learned."""

    return FromFile()
