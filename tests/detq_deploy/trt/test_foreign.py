import json
from pathlib import Path

import pytest

from detq.errors import InputError
from detq_deploy.trt.foreign import is_engine, json_header, require_plain

HEADER = {
    "description": "Ultralytics YOLOv8n model", "version": "8.3.0", "task": "detect",
    "imgsz": [640, 640],
}  # fmt: skip


def with_header(path: Path, header: bytes, plan: bytes = b"ftrt") -> Path:
    path.write_bytes(len(header).to_bytes(4, "little") + header + plan)
    return path


def test_engines_are_known_by_their_names() -> None:
    assert [is_engine(Path(f"m{s}")) for s in (".engine", ".PLAN", ".trt", ".onnx", "")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_an_engine_of_ultralytics_is_told_what_it_is(tmp_path: Path) -> None:
    path = with_header(tmp_path / "yolov8n.engine", json.dumps(HEADER).encode())
    assert json_header(path) == HEADER
    with pytest.raises(InputError) as caught:
        require_plain(path)
    assert str(caught.value) == (
        f"{path}: is not a plain plan but an engine of Ultralytics with a JSON header (Ultralytics "
        "YOLOv8n model, detect, 640x640, written by 8.3.0) (export that model to ONNX and build it "
        "with: detq build)"
    )


def test_a_header_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which says nothing known"):
        require_plain(with_header(tmp_path / "x.engine", b"{}"))


@pytest.mark.parametrize(
    "content",
    [
        b"ftrt\x00\x00\x00\x00 a plan",
        b"",
        b"\x02",
        (9).to_bytes(4, "little") + b"{not json" + b"ftrt",
        (2).to_bytes(4, "little") + b"[]" + b"ftrt",
        (50).to_bytes(4, "little") + b"{",  # ends within the header
    ],
)
def test_plain_plans_and_other_bytes_are_left_to_tensorrt(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plain.engine"
    path.write_bytes(content)
    assert json_header(path) is None
    require_plain(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        require_plain(tmp_path / "none.engine")
