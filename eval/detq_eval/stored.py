"""Detections of many images, on disk: memory does not grow with the images."""

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from detq.data.images import ImageRef
from detq.detection import Detections
from detq.errors import InputError

Found = tuple[ImageRef, Detections]

_ROW = np.dtype([("box", np.float32, 4), ("score", np.float32), ("class", np.int32)])


class StoredDetections(Sequence[Found]):
    """Images with their detections in the order of ``append``, read when asked for.

    The rows lie in a file without a name, gone with the object or the process.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the object)
        weakref.finalize(self, self._file.close)
        self._refs: list[ImageRef] = []
        self._ends = [0]

    def append(self, ref: ImageRef, detections: Detections) -> None:
        """Add one image.

        Args:
            ref: the image.
            detections: float32 boxes and scores, and classes.

        Raises:
            InputError: there is no room for temporary files.
        """
        rows = np.empty(len(detections), _ROW)
        rows["box"], rows["score"] = detections.boxes, detections.scores
        rows["class"] = detections.classes
        try:
            self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"detections cannot be kept: {error.strerror}",
                where=tempfile.gettempdir(),
                hint="make room there, or set TMPDIR to another folder",
            ) from error
        self._refs.append(ref)
        self._ends.append(self._ends[-1] + rows.nbytes)

    def __len__(self) -> int:
        return len(self._refs)

    @overload
    def __getitem__(self, index: int) -> Found: ...
    @overload
    def __getitem__(self, index: slice) -> list[Found]: ...
    def __getitem__(self, index: int | slice) -> Found | list[Found]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]  # IndexError beyond the end, from the end if negative
        start, end = self._ends[place : place + 2]
        rows = np.frombuffer(os.pread(self._file.fileno(), end - start, start), _ROW)
        boxes, scores = (np.ascontiguousarray(rows[name]) for name in ("box", "score"))
        return self._refs[place], Detections(boxes, scores, rows["class"].astype(np.int64))

    def __iter__(self) -> Iterator[Found]:
        return (self[index] for index in range(len(self)))
