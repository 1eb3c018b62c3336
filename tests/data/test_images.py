import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from detq.data.images import ImageRef, choose_images, list_images, read_image
from detq.errors import DatasetError

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def write(path: Path, image: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_lists_a_folder_sorted_with_all_below(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.jpeg"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert list_images(tmp_path) == (
        ImageRef("a.JPG", tmp_path / "a.JPG"),
        ImageRef("b.png", tmp_path / "b.png"),
        ImageRef("deep/c.jpeg", tmp_path / "deep/c.jpeg"),
    )


@pytest.mark.parametrize("place", ["", "images", "val2017", "images/val2017", "../val2017"])
def test_finds_the_images_of_a_coco_file(tmp_path: Path, place: str) -> None:
    file = tmp_path / "annotations" / "instances_val2017.json"
    image = write(file.parent / place / "x.png")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"images": [{"id": 7, "file_name": "x.png", "more": [1]}]}))
    (ref,) = list_images(file)
    assert ref.id == 7
    assert ref.path.samefile(image)


def test_takes_the_images_of_a_coco_file_from_the_given_folder(tmp_path: Path) -> None:
    write(tmp_path / "x.png")
    image = write(tmp_path / "elsewhere" / "x.png")
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"images": [{"id": "x", "file_name": "x.png"}]}))
    assert list_images(file, image.parent) == (ImageRef("x", image),)


def test_lists_one_image_and_a_list_of_paths(tmp_path: Path) -> None:
    image = write(tmp_path / "in" / "x.png")
    assert list_images(image) == (ImageRef("x.png", image),)
    (tmp_path / "list.txt").write_text("in/x.png\n\n")
    assert list_images(tmp_path / "list.txt") == (ImageRef("in/x.png", image),)


def test_what_cannot_be_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "bad.json").write_text('{"images": [')
    (tmp_path / "other.json").write_text('{"images": [{"id": 1}]}')
    for name, text in {
        "nowhere": "nowhere: no such file or folder",
        "empty": "empty: no images",
        "model.onnx": "model.onnx: is not a list of images",
        "bad.json": "bad.json: is not a COCO annotation file",
        "other.json": r"missing required field `file_name` - at `\$.images\[0\]`",
    }.items():
        with pytest.raises(DatasetError, match=text):
            list_images(tmp_path / name)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    for name in ("a.png", "café.png"):
        write(tmp_path / name)
    assert len(list_images(tmp_path)) == 2
    (tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.png"))
    with pytest.raises(DatasetError) as caught:
        list_images(tmp_path)
    assert str(caught.value).endswith("caf\\xe9.png: has a name that is not UTF-8 (rename it)")


def test_names_that_are_too_long(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("prose " * 60)
    with pytest.raises(DatasetError, match=r"1 of 1 images are missing: .*prose"):
        list_images(tmp_path / "notes.txt")
    with pytest.raises(DatasetError, match="no such file or folder"):
        list_images(tmp_path / ("a" * 300))


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path / "0.png")
    rows = [{"id": n, "file_name": f"{n}.png"} for n in range(6)]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"images": rows}))
    with pytest.raises(DatasetError, match=r"5 of 6 images are missing: \S+1.png, \S+2.png, "):
        list_images(file)


REFS = tuple(ImageRef(n, Path(f"{n}.jpg")) for n in range(100))


def test_choice_is_pinned() -> None:
    assert [ref.id for ref in choose_images(REFS, 6, seed=0)] == [16, 46, 31, 87, 92, 96]


def test_choice_depends_on_the_seed_alone() -> None:
    chosen = choose_images(REFS, 10, seed=1)
    assert choose_images(REFS[::-1], 10, seed=1) == chosen
    assert choose_images(REFS, 20, seed=1)[:10] == chosen
    assert choose_images(REFS, 10, seed=2) != chosen
    assert len(set(choose_images(REFS, 1000, seed=1))) == 100


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp", "x.webp", "x.tif"])
def test_reads_what_opencv_reads(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


def test_grey_becomes_colour_and_transparency_goes(tmp_path: Path) -> None:
    grey = read_image(write(tmp_path / "grey.png", IMAGE[:, :, :1]))
    np.testing.assert_array_equal(grey, IMAGE[:, :, :1].repeat(3, axis=2))
    opaque = np.full((*IMAGE.shape[:2], 1), 255, np.uint8)
    clear = read_image(write(tmp_path / "clear.png", np.concatenate((IMAGE, opaque), axis=2)))
    np.testing.assert_array_equal(clear, IMAGE)


def test_turns_an_image_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jpg")
    upright = read_image(path)
    path.write_bytes(with_orientation(path.read_bytes(), 6))
    np.testing.assert_array_equal(read_image(path), np.rot90(upright, -1))


def with_orientation(jpeg: bytes, value: int) -> bytes:
    entry = bytes([0x12, 0x01, 3, 0, 1, 0, 0, 0, value, 0, 0, 0])
    content = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_a_broken_image_is_named_without_a_word_on_stderr(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"x{suffix}")
    whole = path.read_bytes()
    for content, text in {
        b"": "is empty",
        b"not an image at all": "is not an image that can be decoded",
        whole[: len(whole) // 2]: "is cut short|is not an image that can be decoded",
        whole[:20]: "is cut short|is not an image that can be decoded",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"x\{suffix}: ({text})"):
            read_image(path)
    assert capfd.readouterr() == ("", "")


def test_a_cut_jpeg_with_a_thumbnail_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jpg")
    jpeg = path.read_bytes()
    thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg
    path.write_bytes(jpeg[:2] + thumbnail + jpeg[2 : len(jpeg) // 2])
    with pytest.raises(DatasetError, match="is cut short"):
        read_image(path)
    path.write_bytes(jpeg[:2] + thumbnail + jpeg[2:] + b"trailing bytes")
    assert read_image(path).shape == IMAGE.shape


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x.jpg: cannot be read: No such file"):
        read_image(tmp_path / "x.jpg")
