"""Whether a file's weights are too wide for an engine on this machine."""

from pathlib import Path

import numpy as np

from detq.graph.files import load_model
from detq.graph.qdq import stored_behind
from detq.numerics import WEIGHTS_7_BIT
from detq_deploy.cpu_targets import KERNELS
from detq_deploy.saturation import probe


def overflow_caution(path: Path, backend: str) -> str | None:
    """One line where sums of a file's products overflow in ``backend`` here; else None.

    A file with 8-bit weights that was made on a machine with VNNI runs on an older one all the
    same, with sums cut off.

    Args:
        path: an ONNX file.
        backend: the engine that runs it.

    Raises:
        InputError: no such file, or it is not ONNX.
        TargetUnavailableError: the engine is not installed.
    """
    if backend not in KERNELS or not _is_wide(path):
        return None
    found = probe(backend)
    if not found.saturates:
        return None
    return (
        f"{path}: sums of its 8-bit products overflow in {found.engine} here ({found.kernel}), "
        f"and what it finds is wrong; write it with --target {backend}-avx2"
    )


def _is_wide(path: Path) -> bool:
    """Whether a weight needs more than 7 bits; 64 still adds up in pairs."""
    stored = (stored_behind(node.outputs[0]) for node in load_model(path).graph)
    most = WEIGHTS_7_BIT.highest + 1
    return any(
        int(np.abs(weights.integers.astype(np.int16)).max(initial=0)) > most
        for weights in stored
        if weights is not None and weights.integers.dtype == np.int8
    )
