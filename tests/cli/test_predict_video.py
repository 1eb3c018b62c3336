import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detq_eval.video import open_video, written_video
from tests.cli.calls import Detq, Tiny, tree
from tests.cli.test_bad_folders import on_a_full_disk
from tests.tiny_dataset import NAMES, SIZE, Box, draw_scene

FRAMES = 12


@pytest.fixture(scope="session")
def truth() -> list[list[Box]]:
    rng = np.random.default_rng(5)
    return [draw_scene(rng, *SIZE)[1] for _ in range(FRAMES)]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes that the tiny checkpoint has learned to understand, one a frame."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    rng = np.random.default_rng(5)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 8.0, SIZE[::-1])
    for _ in range(FRAMES):
        writer.write(draw_scene(rng, *SIZE)[0][..., ::-1])
    writer.release()
    return path


def test_every_frame_is_drawn_on_and_the_boxes_are_those_of_the_truth(
    detq: Detq, tiny: Tiny, clip: Path, truth: list[list[Box]], tmp_path: Path
) -> None:
    words = ["predict", tiny.model("model.onnxruntime"), clip, "--output", tmp_path / "seen"]
    called = detq(*words).done()
    assert called.err == ""
    assert called.out.startswith(f"{tmp_path / 'seen'}: {FRAMES} frames, ")
    assert set(tree(tmp_path)) == {"seen/clip.mp4", "seen/detections.json"}
    video = open_video(tmp_path / "seen" / "clip.mp4")
    assert video.rate == pytest.approx(8, abs=0.01)
    before, after = list(open_video(clip).read()), list(video.read())
    assert len(after) == FRAMES
    for old, new in zip(before, after, strict=True):
        assert new.shape == old.shape
        assert (np.abs(new.astype(int) - old).max(axis=2) > 100).sum() > 20
    rows = json.loads((tmp_path / "seen" / "detections.json").read_text())
    assert {row["video"] for row in rows} == {str(clip)}
    found = sum(_is_found(box, n, rows) for n, boxes in enumerate(truth) for box in boxes)
    assert found >= 0.7 * sum(map(len, truth))


def _is_found(box: Box, frame: int, rows: list[dict[str, object]]) -> bool:
    *corners, label = box
    mine = [row["box_in_original"] for row in rows
            if row["frame"] == frame and row["class"] == NAMES[label]]  # fmt: skip
    side = max(corners[2] - corners[0], corners[3] - corners[1])
    return any(np.abs(np.subtract(one, corners)).max() < 0.3 * side for one in mine)


def test_a_video_in_its_own_folder_is_not_written_over(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    with written_video(tmp_path / "clip.mp4", 10.0) as write:
        write(np.zeros((64, 96, 3), np.uint8))
    before = tree(tmp_path)
    called = detq("predict", tiny.model("float"), tmp_path / "clip.mp4", "--output", tmp_path)
    called.refused("lies among the pictures", "a folder of its own")
    assert tree(tmp_path) == before


def test_broken_videos(detq: Detq, tiny: Tiny, clip: Path, tmp_path: Path) -> None:
    words = ["predict", tiny.model("float")]
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    to = ["--output", tmp_path / "seen"]
    called = detq(*words, tmp_path / "text.mp4", *to)
    called.refused("text.mp4: is not a video that can be read", "replace the file")
    detq(*words, tmp_path / "none.mp4", *to).refused("none.mp4: no such file")
    assert not (tmp_path / "seen").exists()


def test_a_video_that_ends_early_says_so(
    detq: Detq, tiny: Tiny, clip: Path, tmp_path: Path
) -> None:
    content = clip.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: content.index(b"idx1") - len(content) // 3])
    words = ["predict", tiny.model("float"), tmp_path / "cut.avi", "--output", tmp_path / "seen"]
    called = detq(*words, "--json").done()
    frames = json.loads(called.out)["frames"]
    assert 0 < frames < FRAMES
    line = f"warning: {tmp_path / 'cut.avi'}: {frames} of {FRAMES} frames could be read\n"
    assert called.err == line


def test_a_full_disk(tiny: Tiny, clip: Path, tmp_path: Path) -> None:
    words = ["predict", tiny.model("float"), clip, "--output", tmp_path / "seen"]
    on_a_full_disk(600, *words).refused("clip.mp4: cannot be written", "has room")
    assert tree(tmp_path) == {}
