"""Frames of a video file, read one by one and written as another."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.errors import DatasetError, InputError
from detq.whole_file import written_whole

# A broken video becomes an error that names it; the lines of FFmpeg and OpenCV name nobody.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if hasattr(cv2, "setLogLevel"):  # OpenCV 4
    cv2.setLogLevel(0)
else:
    cv2.utils.logging.setLogLevel(0)

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
)
WRITTEN = ".mp4"
_CODEC = "mp4v"  # MPEG-4 part 2: in every build of OpenCV, unlike H.264
_USUAL_RATE = 25.0  # frames a second, where a file does not say

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Video:
    """A video that can be read.

    Attributes:
        path: the file.
        frames: as many as the file says it has; None where it does not.
        rate: frames a second.
    """

    path: Path
    frames: int | None
    rate: float

    def read(self) -> Iterator[Frame]:
        """The frames in order, uint8 [h, w, 3] in BGR order, turned upright as the file says."""
        with _opened(self.path) as capture:
            while True:
                there, frame = capture.read()
                if not there:
                    return
                yield cast(Frame, frame)


def open_video(path: Path) -> Video:
    """What a video says of itself.

    Raises:
        DatasetError: it is missing, is no video, or its first frame cannot be decoded.
    """
    if not path.is_file():
        raise DatasetError("no such file", where=str(path), hint="correct the path")
    with _opened(path) as capture:
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = capture.get(cv2.CAP_PROP_FPS)
        if not capture.read()[0]:
            raise DatasetError("has no frame that can be decoded", where=str(path), hint=_MEND)
    counted = math.isfinite(frames) and frames >= 1
    timed = math.isfinite(rate) and rate > 0
    return Video(path, int(frames) if counted else None, rate if timed else _USUAL_RATE)


@contextmanager
def written_video(path: Path, rate: float) -> Iterator[Callable[[Frame], None]]:
    """Takes frames of one size, and leaves them as a video, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with written_whole(path) as temporary:
        writers: list[Any] = []

        def write(frame: Frame) -> None:
            if not writers:
                size = frame.shape[1], frame.shape[0]
                codec = cv2.VideoWriter_fourcc(*_CODEC)  # type: ignore[attr-defined]
                writers.append(cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, rate, size))
            writers[0].write(frame)

        try:
            yield write
        finally:
            for writer in writers:
                writer.release()
        _require_readable(temporary, path)


_MEND = "replace the file, or write it again with another program"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    # FFmpeg alone: the readers that OpenCV tries behind it write to stderr.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DatasetError("is not a video that can be read", where=str(path), hint=_MEND)
        yield capture
    finally:
        capture.release()


def _require_readable(temporary: Path, path: Path) -> None:
    """OpenCV does not say when a disk is full; the file then lacks its index."""
    try:
        open_video(temporary)
    except DatasetError as error:
        raise InputError(
            "cannot be written", where=str(path), hint="choose a folder that has room"
        ) from error
