from pathlib import Path

import cv2
import numpy as np
import pytest

from detq.data.images import read_image
from detq.errors import DatasetError
from detq_eval.image_size import image_size

IMAGE = np.zeros((30, 50, 3), np.uint8)


def with_exif(jpeg: bytes, order: str, orientation: int) -> bytes:
    little = order == "II"

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little" if little else "big")

    entries = [(0x010F, 1), (0x0112, orientation)]
    directory = number(len(entries), 2) + b"".join(
        number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b"\0\0"
        for tag, value in entries
    )
    tiff = order.encode() + number(42, 2) + number(8, 4) + directory + number(0, 4)
    content = b"Exif\0\0" + tiff
    # Bytes of FF may fill the room before a marker.
    return jpeg[:2] + b"\xff\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_jpeg_is_measured_upright(tmp_path: Path, order: str, orientation: int) -> None:
    path = tmp_path / "x.jpg"
    cv2.imwrite(str(path), IMAGE)
    path.write_bytes(with_exif(path.read_bytes(), order, orientation))
    assert image_size(path) == read_image(path).shape[:2]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", []),
        (".bmp", []),
        (".webp", []),
        (".tif", []),
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    ],
)
def test_every_kind_is_measured(tmp_path: Path, suffix: str, options: list[int]) -> None:
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), IMAGE, options)
    assert image_size(path) == (30, 50)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n", b"text"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.jpg: is "):
        image_size(tmp_path / "x.jpg")
    with pytest.raises(DatasetError, match=r"y\.jpg: cannot be read"):
        image_size(tmp_path / "y.jpg")


def test_real_headers_say_what_decoding_gives(data: Path) -> None:
    files = sorted((data / "coco/images/train2017").glob("*.jpg"))
    assert len(files) == 64
    for file in files:
        assert image_size(file) == read_image(file).shape[:2]
