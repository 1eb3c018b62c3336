"""Records of runs, made by hand: as little as there can be, and all there is."""

import base64

import cv2
import numpy as np

from detq.calibration import CalibrationImages, UsedImage
from detq.detection import Detector
from detq.layer_error import LayerError, LayerErrors, TensorRange
from detq.numerics import ACTIVATIONS
from detq.plan import Layer, Placement, QuantPoint
from detq.stats import CalibrationStats, TensorStats, stats_of
from detq.summary import Kernel
from detq_eval.agreement import Agreement, SizeAgreement
from detq_eval.report.gallery import Box, Gallery, Picture
from detq_eval.report.records import (
    EngineLayers,
    Manifest,
    Metrics,
    RunRecords,
    Score,
    Speed,
    Spread,
    Subject,
    Timing,
)

HOSTILE = "<script>alert('x')</script>"
FILES = {"float": "float.onnx", "openvino": "model.openvino.onnx"}


def score(ap: float, file: str = "model.openvino.onnx", agreement: bool = False) -> Score:
    return Score(
        file=file,
        engine="OpenVINO 1",
        isa="AVX2",
        images=10,
        protocol="320x320",
        per_class={"cat": ap, HOSTILE: ap / 2, "none of it": -1.0},
        ap=ap,
        ap50=ap + 0.1,
        ap75=ap - 0.1,
        ap_small=-1.0,
        ap_medium=ap,
        ap_large=ap,
        agreement=_agreement() if agreement else None,
    )


def _agreement() -> Agreement:
    of_size = SizeAgreement(
        ap=0.8, boxes=7, missed=2, invented=1, score_shift=-0.02, score_spread=0.03
    )
    return Agreement(
        ap=0.9, ap50=0.95, boxes=7, missed=2, invented=1, score_shift=-0.02, score_spread=0.03,
        confidence=0.25, by_size={"small": of_size, "medium": of_size, "large": of_size},
    )  # fmt: skip


def timing(ms: float, times: float, in_float: tuple[str, ...] = ()) -> Timing:
    return Timing(
        engine="OpenVINO 1",
        threads=2,
        batch=1,
        size=(320, 320),
        wall_ms=Spread(ms, ms * 0.9, ms * 1.2),
        speedup=Spread(times, times - 0.1, times + 0.1),
        peak_rss_mib=100.0,
        layers=EngineLayers(convolutions=10, int8=10 - len(in_float), in_float=in_float),
    )


def metrics(
    accuracy: dict[str, Score] | None = None,
    timings: dict[str, Timing] | None = None,
    warnings: tuple[str, ...] = (),
    label: str = "openvino",
) -> Metrics:
    return Metrics(
        subject=Subject(label, label if accuracy else ""),
        accuracy=accuracy or {},
        speed=Speed(isa="AVX2", cpu="a CPU", rounds=3, timings=timings) if timings else Speed(),
        files=FILES,
        layers={"openvino": {"int8": 9, "all": 10}},
        warnings=warnings,
    )


def least() -> RunRecords:
    """Quantized; nothing was measured, and no record but the figures is left."""
    return RunRecords(
        name="least",
        metrics=metrics(),
        manifest=Manifest({"detq": "0.1.0"}, "Linux", {"size": [320, 320]}),
        detector=Detector(family="", names=("cat",), strides=(8,), size=(320, 320)),
        sizes={},
        seconds={},
    )


def whole(warnings: tuple[str, ...] = ("few images",)) -> RunRecords:
    """With every part, and names as a user who means harm would choose them."""
    accuracy = {
        "float openvino": score(0.4, "float.onnx"),
        "openvino openvino": score(0.375, agreement=True),
    }
    timings = {"float": timing(8.0, 1.0), "openvino": timing(4.0, 2.0, ("head.<b>",))}
    return RunRecords(
        name=HOSTILE,
        metrics=metrics(accuracy, timings, (*warnings, HOSTILE)),
        manifest=Manifest({"detq": "0.1.0", "python": "3.11"}, "Linux", {"names": [HOSTILE]}),
        detector=Detector(family="YOLOv6 N", names=("cat", HOSTILE), strides=(8,), size=(320, 320)),
        sizes={"float": 4_000_000, "openvino": 1_000_000},
        seconds={"float": 1.25, "calibrate": 2.0},
        placement=_placement(),
        layers=_layers(),
        stats=CalibrationStats({"images": _stats()}, ()),
        calibration=CalibrationImages(
            3, (UsedImage(HOSTILE, "/x.jpg", "ab" * 32, 9),), (("bad.jpg", "is empty"),)
        ),
        gallery=_gallery(),
    )


def _stats() -> TensorStats:
    return stats_of(np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, 1, 64, 64))


def _placement() -> Placement:
    points = tuple(
        QuantPoint(value, ("stem.conv",), ACTIVATIONS, group, "a rule")
        for value, group in (("images", "images"), ("stem.act", "t"), (HOSTILE, "t"))
    )
    layers = (
        Layer("stem.conv", "Conv", True, "weights are constant"),
        Layer(HOSTILE, "Conv", False, "boxes & scores"),
    )
    return Placement(points, layers)


def _layers() -> LayerErrors:
    return LayerErrors(
        target="openvino",
        file="model.openvino.onnx",
        stats="stats.npz",
        images=4,
        layers=(
            LayerError(
                node="stem.conv", operator="Conv", int8=True, reason="weights are constant",
                input="images", signal=100.0, noise=1.0, own_noise=0.1,
            ),
            LayerError(
                node=HOSTILE, operator="Conv", int8=False, reason="boxes & scores",
                input="stem.act", signal=100.0, noise=10.0,
            ),
        ),
        tensors=(
            TensorRange(
                value="images", group="images", rule="r", scale=1 / 255, lowest=0.0, highest=1.0
            ),
            TensorRange(value="stem.act", group="t", rule="r", scale=1.0, lowest=-128, highest=127),
        ),
        kernels=(
            Kernel("stem.conv", "stem", (8, 3, 3, 3), 4.0),
            Kernel(HOSTILE, "stem", (8, 3, 3, 3), 2.0),
        ),
    )  # fmt: skip


def _gallery() -> Gallery:
    _, content = cv2.imencode(".jpg", np.full((6, 8, 3), 90, np.uint8))
    jpeg = base64.b64encode(content.tobytes()).decode()
    cat = Box("cat", 0.9, (10.0, 20.0, 40.0, 60.0), False)
    lost = Box(HOSTILE, 0.5, (50.0, 20.0, 70.0, 40.0), True)
    pictures = tuple(
        Picture(
            name=f"{n}{HOSTILE}.jpg", width=80, height=60, jpeg=jpeg, disagreement=9.0 - n,
            reference=(cat, lost) if n % 2 else (cat,), other=(cat,),
        )
        for n in range(8)
    )  # fmt: skip
    return Gallery(
        label="openvino", backend="openvino", images=10, confidence=0.25, differing=4,
        pictures=pictures,
    )  # fmt: skip
