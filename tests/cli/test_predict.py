import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from detq.data.images import read_image
from detq.graph.files import load_model, save_model
from tests.cli.calls import Detq, Tiny, tree
from tests.tiny_dataset import NAMES


def test_pictures_are_drawn_on_and_the_boxes_are_those_of_the_truth(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    called = detq("predict", tiny.model("float"), tiny.data.val, "--output", seen).done()
    assert called.out.startswith(f"{seen}: 8 pictures, ")
    rows = json.loads((seen / "detections.json").read_text())
    pictures = {path.name for path in seen.glob("*.jpg")}
    assert pictures == {path.name for path in tiny.data.val.iterdir()}
    for name in pictures:
        before, after = read_image(tiny.data.val / name), read_image(seen / name)
        assert after.shape == before.shape
        # More than what writing a JPEG again changes.
        assert (np.abs(after.astype(int) - before).max(axis=2) > 100).sum() > 20
    content = json.loads(tiny.data.coco.read_text())
    hits = sum(_is_found(annotation, rows) for annotation in content["annotations"])
    assert hits >= 0.7 * len(content["annotations"])


def _is_found(annotation: dict[str, object], rows: list[dict[str, object]]) -> bool:
    left, top, width, height = np.array(annotation["bbox"], float)
    name = f"{int(str(annotation['image_id'])):03}.jpg"
    kind = NAMES[int(str(annotation["category_id"])) - 1]
    mine = [row["box_in_original"] for row in rows
            if Path(str(row["image"])).name == name and row["class"] == kind]  # fmt: skip
    wanted = (left, top, left + width, top + height)
    return any(np.abs(np.subtract(box, wanted)).max() < 0.3 * max(width, height) for box in mine)


def test_the_same_call_gives_the_same_files(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    trees = []
    for _ in range(2):
        words = ["predict", tiny.model("model.openvino"), tiny.data.val, "--backend", "openvino"]
        detq(*words, "--output", tmp_path / "seen", "--threads", 1).done()
        trees.append(tree(tmp_path / "seen"))
    assert trees[0] == trees[1]


def test_equal_names_stay_apart(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    source = next(iter(sorted(tiny.data.val.iterdir())))
    images = tmp_path / "images"
    for place in ("a/x.jpg", "b/x.jpg", "b/x.jpeg"):
        (images / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, images / place)
    called = detq("predict", tiny.model("float"), images, "--output", tmp_path / "seen", "--json")
    assert json.loads(called.done().out)["images"] == 3
    assert set(tree(tmp_path / "seen")) == {"a/x.jpg", "b/x.jpg", "b/x.jpeg", "detections.json"}


def test_pictures_of_other_suffixes_are_drawn_as_jpeg(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    names = ("a.jfif", "a.jpg", "b")
    for name in names:
        shutil.copy(tiny.data.val / "000.jpg", tmp_path / name)
    (tmp_path / "l.txt").write_text("\n".join(names))
    seen = tmp_path / "seen"
    detq("predict", tiny.model("float"), tmp_path / "l.txt", "--output", seen).done()
    assert set(tree(seen)) == {"a.jfif.jpg", "a.jpg", "b.jpg", "detections.json"}


def test_a_list_that_points_upwards_stays_inside_the_output(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    for place in ("pics/a.jpg", "lists/b.jpg"):
        (tmp_path / place).parent.mkdir()
        shutil.copy(tiny.data.val / "000.jpg", tmp_path / place)
    (tmp_path / "lists" / "l.txt").write_text("../pics/a.jpg\nb.jpg\n")
    before = set(tree(tmp_path))
    words = ["predict", tiny.model("float"), tmp_path / "lists" / "l.txt", "--output"]
    detq(*words, tmp_path / "deep" / "seen").done()
    left = {"deep/seen/pics/a.jpg", "deep/seen/lists/b.jpg", "deep/seen/detections.json"}
    assert set(tree(tmp_path)) - before == left


def test_one_picture_and_a_threshold_that_nothing_passes(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    picture = tiny.data.val / "000.jpg"
    words = ["predict", tiny.model("float"), picture, "--output", tmp_path, "--confidence"]
    assert "1 picture, 0 boxes" in detq(*words, 0.999999).done().out
    assert (tmp_path / "000.jpg").is_file()


@pytest.mark.parametrize("place", ["", "seen"])
def test_pictures_are_not_written_over(detq: Detq, tiny: Tiny, tmp_path: Path, place: str) -> None:
    images = shutil.copytree(tiny.data.val, tmp_path / "images")
    before = tree(tmp_path)
    called = detq("predict", tiny.model("float"), images, "--output", images / place)
    called.refused("lies among the pictures", "give --output a folder of its own")
    called = detq("predict", tiny.model("float"), images / "000.jpg", "--output", images)
    called.refused("lies among the pictures")
    assert tree(tmp_path) == before


def test_an_unreadable_image_stops_unless_it_may_be_left_out(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    images = shutil.copytree(tiny.data.val, tmp_path / "images")
    (images / "002.jpg").write_bytes((images / "002.jpg").read_bytes()[:300])
    words = ["predict", tiny.model("float"), images, "--output", tmp_path / "seen"]
    detq(*words).refused("images/002.jpg: is cut short", "replace the file or leave it out")
    assert "detections.json" not in tree(tmp_path)
    called = detq(*words, "--skip-bad-images").done()
    assert "7 pictures, " in called.out
    assert "left out: " in called.out and "002.jpg: is cut short" in called.out
    assert "002.jpg" not in tree(tmp_path / "seen")


def test_what_cannot_be_drawn(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["predict", tiny.model("float")]
    (tmp_path / "file").write_text("mine")
    called = detq(*words, tiny.data.val, "--output", tmp_path / "file")
    called.refused("file/000.jpg: cannot be written: a file is in the way")
    detq(*words, tmp_path / "none", "--output", tmp_path / "o").refused("no such file or folder")
    (tmp_path / "empty").mkdir()
    detq(*words, tmp_path / "empty", "--output", tmp_path / "o").refused("no images", ".jpeg")
    model = load_model(tiny.model("float"))
    model.metadata_props.clear()
    save_model(model, tmp_path / "other.onnx")
    called = detq("predict", tmp_path / "other.onnx", tiny.data.val, "--output", tmp_path / "o")
    called.refused("other.onnx: does not say what it detects", "write it with detq export")
    assert not (tmp_path / "o").exists()
