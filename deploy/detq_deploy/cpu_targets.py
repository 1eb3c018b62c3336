"""ONNX Runtime and OpenVINO as targets: on this machine, and on x86 of before VNNI.

CPU engines are fastest on unsigned activations: ONNX Runtime drops a ReLU only before an
unsigned Q with zero point 0, and OpenVINO spares the shift of signed codes by 128. Their
weights have 8 bits, or 7 where the 8-bit products overflow. ``deploy/README.md`` says where
the numbers in ``KERNELS`` are from.
"""

from collections.abc import Callable, Mapping
from functools import partial

from detq.numerics import WEIGHTS, WEIGHTS_7_BIT
from detq.target import Kernels, Target, Transposed
from detq_deploy.cpu import CpuFeatures, cpu_features
from detq_deploy.saturation import Saturation, probe

KERNELS: Mapping[str, Kernels] = {
    # A 3 x 3 of three colours does 27 products and pays, a depthwise 5 x 5 does 25.
    "openvino": Kernels(least_products=27),
    "onnxruntime": Kernels(least_products=32, rounded_outputs=True, own_scales=True),
}
_TRANSPOSED: Mapping[str, Transposed] = {"openvino": "per_tensor", "onnxruntime": "float"}
_OLDER = "-avx2"


def cpu_target(name: str, found: Saturation, cpu: CpuFeatures) -> Target:
    """The target for a CPU engine of which ``found`` is known."""
    place = f"{found.engine} ({found.kernel}) on {cpu.isa_label}, {cpu.model}"
    why = (
        "7-bit weights because pairs of 8-bit products overflow 16 bits"
        if found.saturates
        else "8-bit weights because their products add up exactly"
    )
    return _target(
        name,
        name,
        saturating=found.saturates,
        note=f"unsigned activations, {why}: tried out in {place}",
        source="tried out on this machine, see deploy/README.md",
    )


def older_cpu_target(engine: str) -> Target:
    """The target for an engine on x86 without VNNI, wherever the file is made."""
    return _target(
        f"{engine}{_OLDER}",
        engine,
        saturating=True,
        note="unsigned activations, 7-bit weights: exact on every x86, also without VNNI",
        source="pairs of 8-bit products overflow 16 bits in AVX2, see deploy/README.md",
    )


def _target(name: str, engine: str, *, saturating: bool, note: str, source: str) -> Target:
    return Target(
        name,
        unsigned_activations=True,
        shifted_activations=True,
        weights=WEIGHTS_7_BIT if saturating else WEIGHTS,
        note=note,
        engine=engine,
        transposed=_TRANSPOSED[engine],
        kernels=KERNELS[engine],
        saturating=saturating,
        source=source,
    )


def _here(engine: str) -> Target:
    return cpu_target(engine, probe(engine), cpu_features())


CPU_TARGETS: Mapping[str, Callable[[], Target]] = {
    **{engine: partial(_here, engine) for engine in KERNELS},
    **{f"{engine}{_OLDER}": partial(older_cpu_target, engine) for engine in KERNELS},
}
