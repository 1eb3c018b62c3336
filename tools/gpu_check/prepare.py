"""What travels to the GPU: ONNX files, pictures, and the figures to compare with.

Made on any machine with torch and ONNX Runtime; the GPU's needs neither.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detq.errors import InputError, TargetError
from detq.whole_file import written_whole
from tools.gpu_check.questions import write_questions

MANIFEST = "manifest.json"
PICTURES, ANNOTATIONS = "pictures", "annotations.json"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A detector to try.

    Attributes:
        checkpoint: below the data folder.
        truth: COCO file of the pictures, likewise.
        size: of the images.
    """

    checkpoint: str
    truth: str
    size: int


SUBJECTS: Mapping[str, Subject] = {
    "person": Subject(
        checkpoint="person/person_yolov6n_ckpt.pt",
        truth="person/person_eval_val2017.json",
        size=224,
    ),
    "lite_s": Subject(checkpoint="coco/yolov6lite_s.pt", truth="coco/eval_val2017.json", size=320),
}
_CALIBRATION = ("coco/calib_train2017.json", "coco/images/train2017")
_IMAGES = "coco/images/val2017"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the folder.

    Attributes:
        target: the INT8 files are for.
        references: subject → engine → COCO figures of the file on a CPU.
        rtx: plans of TensorRT-RTX that were built without a GPU: subject → why there is none.
    """

    target: str
    references: dict[str, dict[str, dict[str, Any]]]
    rtx: dict[str, str] = {}


def prepare(data: Path, folder: Path, *, target: str, count: int | None, quiet: bool) -> None:
    """Fill ``folder``.

    Args:
        data: the project's test data.
        folder: to fill.
        target: of the INT8 files, such as ``trt8.5``.
        count: pictures to score; all if None.
        quiet: tell nothing.

    Raises:
        InputError: the data is not there.
        TargetError: a step failed; its last line says why.
    """
    missing = [s.checkpoint for s in SUBJECTS.values() if not (data / s.checkpoint).is_file()]
    if missing:
        raise InputError(
            f"lacks {', '.join(missing)}", where=str(data), hint="set DETQ_DATA, or give --data"
        )
    references, rtx = {}, {}
    for name, subject in SUBJECTS.items():
        home = folder / name
        _tell(quiet, f"{name}: quantize for {target}")
        _quantize(data, subject, home, target)
        _copy_truth(data, subject, home, folder / PICTURES, count)
        references[name] = _references(home, folder / PICTURES, target, quiet)
        rtx[name] = _build_rtx(home, quiet)
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    write_questions(folder / "questions")
    manifest = Manifest(target=target, references=references, rtx=rtx)
    with written_whole(folder / MANIFEST) as path:
        path.write_bytes(msgspec.json.encode(manifest))


def _quantize(data: Path, subject: Subject, home: Path, target: str) -> None:
    truth, images = (str(data / part) for part in _CALIBRATION)
    _detq(
        "quantize", str(data / subject.checkpoint), "--data", truth, "--images", images,
        "--size", str(subject.size), "--target", target, "--target", "trt-rtx",
        "--output", str(home), "--quiet",
    )  # fmt: skip


def _copy_truth(
    data: Path, subject: Subject, home: Path, pictures: Path, count: int | None
) -> None:
    found = json.loads((data / subject.truth).read_text())
    found["images"] = found["images"][:count]
    kept = {image["id"] for image in found["images"]}
    found["annotations"] = [one for one in found["annotations"] if one["image_id"] in kept]
    with written_whole(home / ANNOTATIONS) as path:
        path.write_text(json.dumps(found))
    pictures.mkdir(parents=True, exist_ok=True)
    for image in found["images"]:
        shutil.copy(data / _IMAGES / image["file_name"], pictures / image["file_name"])


def _references(home: Path, pictures: Path, target: str, quiet: bool) -> dict[str, dict[str, Any]]:
    """Float in ONNX Runtime, and INT8 in the simulation with TensorRT's numerics."""
    asked = {
        "float in ONNX Runtime": ("float.onnx", "onnxruntime"),
        "INT8 simulated": (f"model.{target}.onnx", "torch"),
    }
    found = {}
    for title, (file, backend) in asked.items():
        _tell(quiet, f"{home.name}: score {title}")
        said = _detq(
            "eval", str(home / file), "--backend", backend, "--data", str(home / ANNOTATIONS),
            "--images", str(pictures), "--json", "--quiet",
        )  # fmt: skip
        found[title] = json.loads(said)
    return found


def _build_rtx(home: Path, quiet: bool) -> str:
    _tell(quiet, f"{home.name}: build for TensorRT-RTX")
    try:
        _detq(
            "build", str(home / "model.trt-rtx.onnx"), "--target", "trt-rtx", "--arch", "sm86",
            "--output", str(home / "rtx.engine"), "--quiet",
        )  # fmt: skip
    except TargetError as error:
        return str(error)
    return ""


def _detq(*words: str) -> str:
    """What a command of detq prints."""
    command: Sequence[str] = [sys.executable, "-m", "detq", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONSAFEPATH": "1"},
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit status {done.returncode}"
        raise TargetError(
            f"detq {words[0]} failed: {last}", where=words[1], hint="run it by itself to see more"
        )
    return done.stdout


def _tell(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)
