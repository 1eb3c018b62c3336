from pathlib import Path

import msgspec
import onnx_ir as ir
import pytest

from detq.detection import Detector, Preprocessing
from detq.errors import InputError
from detq.graph.build import Builder
from detq.graph.files import (
    DETECTOR,
    detector_from_metadata,
    detector_metadata,
    load_model,
    save_model,
    written_whole,
)

DETECTOR_OF_TWO = Detector(
    family="YOLOv6 N",
    names=("person", "größer"),
    strides=(8, 16, 32),
    size=(192, 320),
    preprocessing=Preprocessing(pad=0),
    source="a.pt sha256 00",
)


def tiny() -> ir.Model:
    builder = Builder("net")
    y = builder.elementwise("Relu", builder.input("images", ("B", 3, 8, 8)))
    return builder.finish({"outputs": y}, detector_metadata(DETECTOR_OF_TWO))


def test_a_file_carries_its_contract(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path / "deep" / "a.onnx")
    back = load_model(tmp_path / "deep" / "a.onnx")
    assert detector_from_metadata(back.metadata_props, "a.onnx") == DETECTOR_OF_TWO
    assert [node.op_type for node in back.graph] == ["Relu"]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path / "a.onnx")
    save_model(tiny(), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.onnx: no such file"):
        load_model(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip", b"\xff" * 100, b"hello"])
def test_no_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx: is not an ONNX file"):
        load_model(tmp_path / "a.onnx")


def test_a_foreign_file_has_no_contract() -> None:
    with pytest.raises(InputError, match=r"yolo\.onnx: does not say what it detects"):
        detector_from_metadata({}, "yolo.onnx")


@pytest.mark.parametrize("change", [{"angle": 1}, {"size": "big"}])
def test_a_contract_of_a_later_version(change: dict[str, object]) -> None:
    text = msgspec.json.encode({**msgspec.to_builtins(DETECTOR_OF_TWO), **change}).decode()
    with pytest.raises(InputError, match=r"a\.onnx: describes its detector in an unknown way"):
        detector_from_metadata({DETECTOR: text}, "a.onnx")


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), written_whole(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_writer_that_goes_by_the_suffix_finds_it(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.tar.gz") as temporary:
        assert temporary.suffixes[-2:] == [".tar", ".gz"]


@pytest.mark.parametrize(
    ("inside", "why"), [("file/a.onnx", "a file is in the way"), ("folder", "Is a directory")]
)
def test_a_place_that_cannot_be_written(tmp_path: Path, inside: str, why: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{inside}: cannot be written: {why}"):
        save_model(tiny(), tmp_path / inside)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
