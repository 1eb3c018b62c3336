"""The consumers of a quantized ONNX file, by name: which grids each wants, and why.

CPU engines are fastest on unsigned activations: ONNX Runtime drops a ReLU only before an
unsigned Q with zero point 0, and OpenVINO spares the shift of signed codes by 128. Their
weights have 8 bits, or 7 where the 8-bit products overflow on this machine.
"""

from collections.abc import Callable

from detq.errors import TargetError
from detq.numerics import WEIGHTS, WEIGHTS_7_BIT
from detq.target import PLAIN, Target
from detq_deploy.cpu import CpuFeatures, cpu_features
from detq_deploy.saturation import Saturation, probe

TARGETS: dict[str, Callable[[], Target]] = {
    "plain": lambda: PLAIN,
    "onnxruntime": lambda: cpu_target("onnxruntime", probe("onnxruntime"), cpu_features()),
    "openvino": lambda: cpu_target("openvino", probe("openvino"), cpu_features()),
}


def target_named(name: str) -> Target:
    """The target ``name`` for this machine.

    Raises:
        TargetError: there is none of that name.
        TargetUnavailableError: its engine, which has to be tried out, is not installed.
    """
    if name not in TARGETS:
        raise TargetError(f"no target {name!r}", hint=f"one of {', '.join(TARGETS)}")
    return TARGETS[name]()


def cpu_target(name: str, found: Saturation, cpu: CpuFeatures) -> Target:
    """The grids for a CPU engine of which ``found`` is known."""
    place = f"{found.engine} ({found.kernel}) on {cpu.isa_label}, {cpu.model}"
    weights, why = (
        (WEIGHTS_7_BIT, "7-bit weights because pairs of 8-bit products overflow 16 bits")
        if found.saturates
        else (WEIGHTS, "8-bit weights because their products add up exactly")
    )
    return Target(
        name,
        unsigned_activations=True,
        weights=weights,
        note=f"unsigned activations, {why}: tried out in {place}",
    )
