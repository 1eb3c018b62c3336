"""Options that several commands have, each with what it may be."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from detq.errors import InputError

SMALLEST = 32  # pixels; the largest stride of most networks


def _size(kind: Any, tokens: Sequence[Token]) -> tuple[int, int]:
    text = tokens[0].value
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text)
    if match is None:
        raise InputError(
            f"{text!r} is not a number of pixels",
            where="--size",
            hint="give 640, or 384x640 for height x width",
        )
    height = int(match[1])
    width = int(match[2] or height)
    if min(height, width) < SMALLEST:
        raise InputError(
            f"{text} is too small", where="--size", hint=f"give {SMALLEST} or more pixels"
        )
    return height, width


def _shown(size: Any) -> str:
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


_ONE_WORD = Parameter(converter=_size, n_tokens=1, accepts_keys=False)
Size = Annotated[tuple[int, int], _ONE_WORD, Parameter(show_default=_shown)]
"""Pixels of a square, or height x width."""
AnySize = Annotated[tuple[int, int] | None, _ONE_WORD]

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Pixels = Annotated[int, Parameter(validator=Number(gte=0))]
Seed = Annotated[int, Parameter(validator=Number(gte=0))]
Confidence = Annotated[float, Parameter(validator=Number(gte=0, lt=1))]
Overlap = Annotated[float, Parameter(validator=Number(gt=0, lte=1))]

# The keys of detq_deploy's tables, which import too much to be asked for a help text.
Backend = Literal["torch", "onnxruntime", "openvino", "tensorrt"]
TargetName = Literal[
    "plain", "openvino", "onnxruntime", "openvino-avx2", "onnxruntime-avx2",
    "trt8.4", "trt8.5", "trt8.6", "trt10.3", "trt10.13", "trt10.16", "trt11.4", "trt-rtx",
    "jetpack5.0", "jetpack5.1", "jetpack6.0", "jetpack6.1", "jetpack6.2", "jetpack7.0",
    "jetpack7.1", "jetpack7.2",
]  # fmt: skip
NmsName = Literal["efficient", "onnx"]
LayoutName = Literal["rows", "channels"]
LearnerName = Literal["none", "qprep", "qprep_learned", "abc", "adaround", "bias_correction"]
