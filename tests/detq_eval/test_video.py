import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detq.errors import DatasetError, InputError
from detq_eval.video import open_video, written_video

LOSS = 12.0  # of 255: what the codec may change in a plain frame


def plain(grey: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full((*size, 3), grey, np.uint8)


def written(path: Path, count: int = 6) -> Path:
    with written_video(path, 12.5) as write:
        for number in range(count):
            write(plain(30 * number))
    return path


def test_frames_are_read_as_they_were_written(tmp_path: Path) -> None:
    video = open_video(written(tmp_path / "v.mp4"))
    assert video.frames == 6
    assert video.rate == pytest.approx(12.5, abs=0.01)
    frames = list(video.read())
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 6
    for number, frame in enumerate(frames):
        assert np.abs(frame.astype(float) - 30 * number).max() <= LOSS
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "mp4v"), (".mov", "mp4v")]
)
def test_other_containers(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"v{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, (64, 48))
    for number in range(4):
        writer.write(plain(60 * number))
    writer.release()
    video = open_video(path)
    assert len(list(video.read())) == 4
    assert video.rate == pytest.approx(10, abs=0.01)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), written_video(tmp_path / "v.mp4", 10.0) as write:
        write(plain(0))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"v\.mp4: cannot be written"):
        written(tmp_path / "v.mp4", count=0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_told_in_one_line_and_by_nobody_else(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.mp4").read_bytes()
    cases = {"text.mp4": b"hello" * 99, "empty.avi": b"", "cut.mp4": whole[: len(whole) // 2]}
    program = """
import sys
from pathlib import Path
from detq.errors import DatasetError
from detq_eval.video import open_video
for path in sys.argv[1:]:
    try:
        open_video(Path(path))
    except DatasetError as error:
        print(error)
"""
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    words = [sys.executable, "-c", program, *(str(tmp_path / name) for name in cases)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    for name, line in zip(cases, lines, strict=True):
        assert line.startswith(f"{tmp_path / name}: is not a video that can be read (replace")


def test_a_missing_video(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"v\.mp4: no such file \(correct the path\)"):
        open_video(tmp_path / "v.mp4")
