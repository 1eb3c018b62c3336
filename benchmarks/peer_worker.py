"""One peer quantizes one float ONNX file; runs in the peer's own environment, without detq.

    python peer_worker.py TOOL METHOD job.json

``job.json`` names the float model, the calibration images (``.npy``, float32 [n, 3, H, W]), the
nodes to leave float, and the file to write. Settings are what each tool's documentation gives
for convolutional detectors on a CPU with VNNI: weights per channel, everything behind the last
hidden layers left float.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Job = Mapping[str, Any]


def main() -> None:
    tool, method, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    TOOLS[tool](method, job, np.load(job["images"], mmap_mode="r"))


def with_onnxruntime(method: str, job: Job, images: np.ndarray) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {job["input"]: np.array(image[None])}

    prepared = str(Path(job["output"]).with_suffix(".prepared.onnx"))
    quant_pre_process(job["model"], prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        job["output"],
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=job["excluded"],
        calibrate_method=CalibrationMethod[method],
    )


def with_nncf(method: str, job: Job, images: np.ndarray) -> None:
    import nncf
    import onnx

    if method == "openvino":
        quantize_ir(job, images)
        return
    model = onnx.load(job["model"])
    calibration = nncf.Dataset(list(range(len(images))), lambda i: {job["input"]: images[i][None]})
    scope = nncf.IgnoredScope(names=job["excluded"], validate=False)
    if method == "default":
        found = nncf.quantize(model, calibration, subset_size=len(images), ignored_scope=scope)
    else:
        restorer = nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=32)
        judge = Judge(job)
        found = nncf.quantize_with_accuracy_control(
            model,
            calibration,
            nncf.Dataset(job["truth_images"], lambda image: image),
            lambda other, wanted: (judge(other, wanted), None),
            max_drop=job["max_drop"],
            subset_size=len(images),
            ignored_scope=scope,
            advanced_accuracy_restorer_parameters=restorer,
        )
        judge.close()
    onnx.save(found, job["output"])


def quantize_ir(job: Job, images: np.ndarray) -> None:
    """NNCF on OpenVINO's own form of the model, which is what OpenVINO's documentation advises."""
    import nncf
    import openvino

    # The convolution of a node with a bias is called so.
    names = [name + suffix for name in job["excluded"] for suffix in ("", "/WithoutBiases")]
    found = nncf.quantize(
        openvino.Core().read_model(job["model"]),
        nncf.Dataset(list(range(len(images))), lambda i: images[i][None]),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=names, validate=False),
    )
    openvino.save_model(found, Path(job["output"]).with_suffix(".xml"), compress_to_fp16=False)


class Judge:
    """detq's evaluation in a process of its own: a start costs as much as some images.

    Args:
        job: names the command, the float model, whose contract is given to every candidate, and
            the file beside which candidates are written.
    """

    def __init__(self, job: Job) -> None:
        import onnx

        folder = Path(job["output"]).parent
        self._file, self._log = folder / "candidate.onnx", folder / "evaluations.txt"
        self._contract = onnx.load(job["model"], load_external_data=False).metadata_props
        self._last: Any = None
        self._process = subprocess.Popen(
            job["judge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def __call__(self, model: Any, wanted: Iterable[int]) -> float:
        """AP of a model on some images of the ground truth, 0 to 1."""
        import onnx

        again, ids = model is self._last, list(wanted)
        if not again:
            known = {prop.key for prop in model.metadata_props}
            for prop in self._contract:
                if prop.key not in known:
                    model.metadata_props.add(key=prop.key, value=prop.value)
            onnx.save(model, self._file)
            self._last = model
        asked = {"model": str(self._file), "images": ids, "again": again}
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        ap = float(json.loads(self._process.stdout.readline()))
        with self._log.open("a") as log:
            log.write(f"{len(ids)} {ap}\n")
        return ap

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def with_modelopt(method: str, job: Job, images: np.ndarray) -> None:
    from modelopt.onnx.quantization import quantize

    quantize(
        job["model"],
        quantize_mode="int8",
        calibration_data={job["input"]: np.array(images)},
        calibration_method=method,
        calibration_eps=["cpu"],
        nodes_to_exclude=job["excluded"],
        high_precision_dtype="fp32",
        output_path=job["output"],
    )


TOOLS: Mapping[str, Callable[[str, Job, np.ndarray], None]] = {
    "onnxruntime": with_onnxruntime,
    "nncf": with_nncf,
    "modelopt": with_modelopt,
}


if __name__ == "__main__":
    main()
