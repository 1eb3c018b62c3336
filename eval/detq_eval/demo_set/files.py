"""The demo set on disk: PNG pictures and COCO annotation files, and the detector for it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec

from detq.whole_file import written_whole
from detq_eval.demo_set.scene import Scene, draw_scene
from detq_eval.demo_set.shapes import NAMES

SIDE = 320  # pixels
EVALUATION, CALIBRATION = 300, 64  # pictures
# Other seeds than those that the detector was trained on, which are below 1000.
SEEDS = {"evaluation": 1000, "calibration": 1001}
DETECTOR = Path(__file__).with_name("detector.safetensors")
"""Trained for the demo set by ``tools/train``, branches apart; see ``docs/demo.md``."""
PLAIN = "plain"
QUANTIZED = {
    target: Path(__file__).with_name(f"detector.{target}.onnx")
    for target in (PLAIN, "openvino-avx2")
}
"""The same in INT8, by target; of the plain one every TensorRT form is written without torch."""

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True, slots=True)
class DemoSet:
    """Where the demo set lies.

    Attributes:
        evaluation: COCO file of the pictures to score on.
        calibration: COCO file of the pictures to calibrate with.
    """

    evaluation: Path
    calibration: Path


def write_demo_set(
    folder: Path,
    evaluation: int = EVALUATION,
    calibration: int = CALIBRATION,
    on_picture: Callable[[int], None] = lambda done: None,
) -> DemoSet:
    """Draw the pictures and say in COCO files what is on them; the same bytes everywhere.

    Args:
        folder: for both parts; pictures of each lie in a folder of its own.
        evaluation: number of pictures to score on.
        calibration: number of pictures to calibrate with.
        on_picture: told how many are done.

    Raises:
        InputError: the folder cannot be written.
    """
    found = DemoSet(folder / "evaluation.json", folder / "calibration.json")
    _write_part(found.evaluation, evaluation, on_picture)
    _write_part(found.calibration, calibration, lambda done: on_picture(evaluation + done))
    return found


def _write_part(file: Path, count: int, on_picture: Callable[[int], None]) -> None:
    pictures, seed = file.with_suffix(""), SEEDS[file.stem]

    def write(number: int) -> Scene:
        scene = draw_scene(seed, number, SIDE, SIDE)
        with written_whole(pictures / _name(number)) as temporary:
            temporary.write_bytes(cv2.imencode(".png", scene.image[..., ::-1], _PNG)[1].tobytes())
        return scene

    # Most of the time goes into numpy and OpenCV, which let other threads work meanwhile.
    scenes = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        for scene in threads.map(write, range(count)):
            scenes.append(scene)
            on_picture(len(scenes))
    with written_whole(file) as temporary:
        temporary.write_bytes(msgspec.json.encode(_coco(scenes)))


def _name(number: int) -> str:
    return f"{number:04}.png"


def _coco(scenes: Sequence[Scene]) -> dict[str, Any]:
    rows = [
        (image, label, box, area)
        for image, scene in enumerate(scenes)
        for label, box, area in zip(
            scene.classes.tolist(), scene.boxes.tolist(), scene.areas.tolist(), strict=True
        )
    ]
    return {
        "images": [
            {"id": n, "file_name": _name(n), "height": SIDE, "width": SIDE}
            for n in range(len(scenes))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": area,
                "iscrowd": 0,
            }
            for number, (image, label, (left, top, right, bottom), area) in enumerate(rows, 1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES, 1)],
    }
