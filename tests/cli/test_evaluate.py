import json
import shutil
from pathlib import Path

import pytest

from detq.cli.scoring import METRICS
from tests.cli.calls import Detq, Tiny, tree

BACKENDS = ("torch", "onnxruntime", "openvino")


def score(detq: Detq, *words: object) -> dict[str, object]:
    called = detq("eval", *words, "--threads", 1, "--json").done()
    assert called.err == ""
    found: dict[str, object] = json.loads(called.out)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_json_alone_and_figures_between_0_and_1(detq: Detq, tiny: Tiny, backend: str) -> None:
    float_file = tiny.model("float")
    found = score(detq, float_file, "--data", tiny.data.coco, "--backend", backend)
    for name in METRICS:
        value = found[name]
        assert isinstance(value, float)
        assert 0 <= value <= 1 or value == -1, name
    assert found["APlarge"] == -1  # no picture is that large
    # What the network has learned: most rectangles, their sides within a few pixels.
    assert float(str(found["AP50"])) > 0.7
    assert float(str(found["AP"])) > 0.2
    assert found["images"] == 8
    assert found["skipped"] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_int8_loses_little(detq: Detq, tiny: Tiny, backend: str) -> None:
    target = {"torch": "plain"}.get(backend, backend)
    words = ("--data", tiny.data.coco, "--backend", backend)
    exact = score(detq, tiny.model("float"), *words)
    int8 = score(detq, tiny.model(f"model.{target}"), *words)
    assert float(str(int8["AP50"])) > float(str(exact["AP50"])) - 0.1
    assert int8["AP"] != exact["AP"]


def test_coco_and_yolo_say_the_same(detq: Detq, tiny: Tiny) -> None:
    found = [score(detq, tiny.model("float"), "--data", data)
             for data in (tiny.data.coco, tiny.data.yolo)]  # fmt: skip
    for name in ("AP", "AP50", "AR100"):
        assert found[0][name] == pytest.approx(found[1][name], abs=0.01), name  # label files round


def test_a_table_for_people_and_the_boxes_in_a_file(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    boxes = tmp_path / "deep" / "boxes.json"
    words = ["eval", tiny.model("float"), "--data", tiny.data.coco, "--detections", boxes]
    text = detq(*words, "--confidence", 0.3).done().out
    assert "float.onnx in ONNX Runtime " in text
    assert "APlarge    none in the truth \n" in text
    assert "8 images, " in text
    assert "confidence 0.3, " in text
    rows = json.loads(boxes.read_text())
    assert rows
    assert {tuple(sorted(row)) for row in rows} == {("bbox", "category_id", "image_id", "score")}
    assert {row["category_id"] for row in rows} == {1, 2, 3}
    assert all(row["score"] > 0.3 for row in rows)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff not a picture"], ids=["empty", "text"])
def test_an_unreadable_image_stops_unless_it_may_be_left_out(
    detq: Detq, tiny: Tiny, tmp_path: Path, content: bytes
) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    (data / "images/val/003.jpg").write_bytes(content)
    words = ["eval", tiny.model("float"), "--data", data / "val.json"]
    detq(*words).refused("images/val/003.jpg: is ", "replace the file or leave it out")
    boxes = tmp_path / "boxes.json"
    called = detq(*words, "--skip-bad-images", "--detections", boxes).done()
    assert "7 images, " in called.out
    assert "left out: " in called.out
    assert "003.jpg is " in called.out
    assert 3 not in {row["image_id"] for row in json.loads(boxes.read_text())}


def test_no_image_can_be_read(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    for image in (data / "images/val").iterdir():
        image.write_bytes(b"")
    words = ["eval", tiny.model("float"), "--data", data / "val.json", "--skip-bad-images"]
    boxes = tmp_path / "boxes.json"
    detq(*words, "--detections", boxes).refused("none of 8 images can be decoded", "is empty")
    assert not boxes.exists()


def truth(data: Path, **changes: object) -> Path:
    content = json.loads(data.read_text())
    data.write_text(json.dumps({**content, **changes}))
    return data


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"images": [{"id": 0, "file_name": "gone.jpg", "width": 9, "height": 9}]},
         ["1 of 1 images are missing", "gone.jpg", "say where the images lie"]),
        ({"annotations": []}, ["has no boxes", "evaluation needs annotated images"]),
        ({"categories": [{"id": n, "name": str(n)} for n in range(5)]},
         ["has 5 classes, the model 3", "the annotations that the model was trained for"]),
        ({"categories": [{"id": 1, "name": "red"}]}, ["has a box of category 3"]),
        ({"images": []}, ["val.json: "]),
        ({"images": "x"}, ["is not a COCO annotation file", "expected are images"]),
    ],
    ids=["missing", "no boxes", "classes", "category", "no images", "shape"],
)  # fmt: skip
def test_annotations_that_do_not_fit(
    detq: Detq, tiny: Tiny, tmp_path: Path, changes: dict[str, object], texts: list[str]
) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    file = truth(data / "val.json", **changes)
    before = tree(tmp_path)
    called = detq("eval", tiny.model("float"), "--data", file, "--detections", tmp_path / "b.json")
    called.refused("val.json: ", *texts)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("val.json", "{", ["val.json: is not a COCO annotation file"]),
        ("data.yaml", "val: [", ["data.yaml: is not a data.yaml"]),
        ("data.yaml", "names: [a]", ["data.yaml: has no images under 'val'"]),
        ("gone.json", None, ["gone.json: no such file"]),
    ],
)
def test_annotations_that_cannot_be_read(
    detq: Detq, tiny: Tiny, tmp_path: Path, name: str, content: str | None, texts: list[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    detq("eval", tiny.model("float"), "--data", tmp_path / name).refused(*texts)


def test_a_folder_of_images_that_is_not_there(detq: Detq, tiny: Tiny) -> None:
    words = ["eval", tiny.model("float"), "--data", tiny.data.coco, "--images", "nowhere"]
    detq(*words).refused("nowhere: no such folder", "give the images' folder")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_is_not_there_or_no_onnx(
    detq: Detq, tiny: Tiny, tmp_path: Path, backend: str
) -> None:
    words = ["--data", tiny.data.coco, "--backend", backend]
    detq("eval", tmp_path / "no.onnx", *words).refused("no.onnx: no such file")
    broken = tmp_path / "broken.onnx"
    whole = tiny.model("float").read_bytes()
    for content in (b"", b"not ONNX at all", whole[: len(whole) // 2]):
        broken.write_bytes(content)
        detq("eval", broken, *words).refused("broken.onnx: ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_without_its_contract(detq: Detq, tiny: Tiny, tmp_path: Path, backend: str) -> None:
    from detq.graph.files import load_model, save_model

    model = load_model(tiny.model("float"))
    model.metadata_props.clear()
    save_model(model, tmp_path / "other.onnx")
    called = detq("eval", tmp_path / "other.onnx", "--data", tiny.data.coco, "--backend", backend)
    called.refused("other.onnx: does not say what it detects", "write it with detq export")


def test_a_folder_is_no_ground_truth(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["eval", tiny.model("float"), "--data"]
    called = detq(*words, tiny.data.val)
    called.refused("val: is a folder", "give a COCO .json or a data.yaml")
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    detq(*words, data).refused("data: is a folder", f"give {data / 'data.yaml'}")


def test_labels_that_are_not_there(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    text = tiny.data.yolo.read_text().replace(str(tiny.data.folder), str(data))
    (data / "data.yaml").write_text(text)
    shutil.move(data / "labels", data / "annotations")
    called = detq("eval", tiny.model("float"), "--data", data / "data.yaml")
    first = data / "labels" / "val" / "000.txt"
    called.refused("has no boxes", f"no label file is there, the first would be {first}")


def test_classes_of_other_names_are_told(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    text = tiny.data.yolo.read_text()
    (tmp_path / "data.yaml").write_text(text.replace("- red", "- rot"))
    words = ["eval", tiny.model("float"), "--threads", 1, "--json", "--data"]
    called = detq(*words, tmp_path / "data.yaml").done()
    assert called.err.startswith("warning: the data names its classes otherwise than the model")
    assert json.loads(called.out)["matched_by"] == "order"
    called = detq(*words, tiny.data.yolo).done()
    assert called.err == ""
    assert json.loads(called.out)["matched_by"] == "name"
