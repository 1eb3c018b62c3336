"""The consumers of a quantized ONNX file, by name: what each can do, and how that is known.

Those of CPU engines are in ``detq_deploy.cpu_targets``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from detq.errors import TargetError, remedy_for_name
from detq.target import PLAIN, Target
from detq_deploy.cpu_targets import CPU_TARGETS
from detq_deploy.parser_operators import OPERATORS

_NOTE = "s8 activations, s8 weights; scales of "
_WEAK = Target(
    "",
    note=f"{_NOTE}float32, float32 body",
    engine="tensorrt",
    opset=13,  # the first with Q/DQ per channel
    opset_ceiling=17,
    int8_initializers=False,
    tensor_cores=True,
    nms=("efficient", "onnx"),
    dla="cache",
)
_STRONG = Target(
    "",
    note=f"{_NOTE}float16, float16 body",
    engine="tensorrt",
    opset=19,  # the first whose Q and DQ take float16 scales
    opset_ceiling=20,
    strongly_typed=True,
    scale_types=("float32", "float16"),
    tensor_cores=True,
    nms=("efficient", "onnx"),
    operators=OPERATORS["10"],
)
_PARSER = "onnx-tensorrt, builtin_op_importers.cpp and docs/operators.md of"

TENSORRT: Mapping[str, Target] = {
    target.name: target
    for target in (
        replace(
            _WEAK,
            name="trt8.4",
            version="8.4",
            build=8401,
            transposed="float",
            nms=("efficient",),
            operators=OPERATORS["8.4"],
            source=f"{_PARSER} release/8.4-GA; NVIDIA/TensorRT#1694 (no tactic for some INT8 "
            "transposed convolutions)",
        ),
        replace(
            _WEAK,
            name="trt8.5",
            version="8.5",
            build=8502,
            operators=OPERATORS["8.5"],
            source=f"{_PARSER} release/8.5-GA: three inputs to Q and DQ, scales read as float32",
        ),
        replace(
            _WEAK,
            name="trt8.6",
            version="8.6",
            build=8602,
            operators=OPERATORS["8.6"],
            source=f"{_PARSER} release/8.6-GA: three inputs to Q and DQ",
        ),
        replace(
            _STRONG,
            name="trt10.3",
            version="10.3",
            build=100300,
            dla="cache",
            source=f"{_PARSER} 10.1-GA: opset 9 to 20, scales of float32, float16, bfloat16; "
            "release notes of 10.7 (the last 10.x with DLA)",
        ),
        replace(
            _STRONG,
            name="trt10.13",
            version="10.13",
            opset_ceiling=22,
            source="release notes: ONNX 1.17 (opset 22) since 10.6, ONNX 1.18 since 10.11; weak "
            "typing deprecated in 10.12; no DLA after 10.7",
        ),
        replace(
            _STRONG,
            name="trt10.16",
            version="10.16",
            opset_ceiling=22,
            source="Python bindings 10.16.1; release notes: no DLA after 10.7",
        ),
        replace(
            _STRONG,
            name="trt11.4",
            version="11.4",
            opset_ceiling=24,
            dla="qdq",
            source="Python bindings 11.4.0: strongly typed networks only, no calibrators; release "
            "notes of 11.4.1: DLA on Jetson AGX Orin",
        ),
        replace(
            _STRONG,
            name="trt-rtx",
            engine="tensorrt-rtx",
            version="1.7",
            opset_ceiling=24,
            transposed="float",
            tensor_cores=False,
            nms=(),
            source="parsed and built with TensorRT-RTX 1.7.1 for SM86: transposed convolutions "
            "stay float, depthwise ones become INT8, no plugins",
        ),
    )
}

JETPACKS: Mapping[str, str] = {
    "jetpack5.0": "trt8.4",
    "jetpack5.1": "trt8.5",
    "jetpack6.0": "trt8.6",
    "jetpack6.1": "trt10.3",
    "jetpack6.2": "trt10.3",
    "jetpack7.0": "trt10.13",
    "jetpack7.1": "trt10.13",
    "jetpack7.2": "trt10.16",
}
"""JetPack → the TensorRT it comes with."""

TARGETS: Mapping[str, Callable[[], Target]] = {
    "plain": lambda: PLAIN,
    **CPU_TARGETS,
    **{name: partial(TENSORRT.__getitem__, name) for name in TENSORRT},
    **{alias: partial(TENSORRT.__getitem__, name) for alias, name in JETPACKS.items()},
}


def target_named(name: str) -> Target:
    """The target ``name`` for this machine; a JetPack is the TensorRT it comes with.

    Raises:
        TargetError: there is none of that name.
        TargetUnavailableError: its engine, which has to be tried out, is not installed.
    """
    if name not in TARGETS:
        raise TargetError(f"no target {name!r}", hint=remedy_for_name(name, TARGETS))
    return TARGETS[name]()
