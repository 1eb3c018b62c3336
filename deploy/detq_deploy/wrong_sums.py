"""Whether an engine on this machine adds up a file's products wrongly."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from detq.graph.files import load_model
from detq.graph.qdq import stored_behind
from detq.numerics import WEIGHTS_7_BIT
from detq_deploy.cpu_targets import KERNELS, older_cpu_target
from detq_deploy.lint.cpu_forms import signed_concat
from detq_deploy.lint.subject import subject_from
from detq_deploy.saturation import probe
from detq_deploy.signed_concat import adds_up


def cautions(path: Path, backend: str) -> Iterator[str]:
    """A line for every way in which sums of a file are wrong in ``backend`` here.

    A file with 8-bit weights that was made on a machine with VNNI runs on an older one all the
    same, with sums cut off; one made for TensorRT runs in OpenVINO.

    Args:
        path: an ONNX file.
        backend: the engine that runs it.

    Raises:
        InputError: no such file, or it is not ONNX.
        TargetUnavailableError: the engine is not installed.
    """
    if backend not in KERNELS:
        return
    model = load_model(path)
    if _is_wide(model) and (found := probe(backend)).saturates:
        yield (
            f"{path}: sums of its 8-bit products overflow in {found.engine} here ({found.kernel}), "
            f"and what it finds is wrong; write it with --target {backend}-avx2"
        )
    if backend == "openvino" and _joins_int8(model) and not adds_up():
        yield (
            f"{path}: OpenVINO adds up int8 tensors behind a Concat wrongly here, and what it "
            "finds is wrong; see detq lint --target openvino"
        )


def _is_wide(model: ir.Model) -> bool:
    """Whether a weight needs more than 7 bits; 64 still adds up in pairs."""
    stored = (stored_behind(node.outputs[0]) for node in model.graph)
    most = WEIGHTS_7_BIT.highest + 1
    return any(
        int(np.abs(weights.integers.astype(np.int16)).max(initial=0)) > most
        for weights in stored
        if weights is not None and weights.integers.dtype == np.int8
    )


def _joins_int8(model: ir.Model) -> bool:
    subject = subject_from(model, older_cpu_target("openvino"))
    return next(signed_concat(subject), None) is not None
