"""Which adapter reads which file."""

from pathlib import Path

from detq.errors import InputError
from detq.model import FloatModel


def read_source(path: Path, size: tuple[int, int]) -> FloatModel:
    """A checkpoint as a float graph with its branches apart.

    Raises:
        InputError: no such file, or the size does not fit.
        CheckpointError: not a checkpoint that can be read.
        UnsupportedBlockError: a part of it is not known.
    """
    from yolov6_adapter import read_checkpoint, source_from_checkpoint

    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="give the path of a checkpoint")
    return source_from_checkpoint(read_checkpoint(path), size)
