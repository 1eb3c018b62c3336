"""Which NVIDIA GPUs compute convolutions in INT8, by architecture."""

from typing import Literal

Speed = Literal["fast", "slow", "none"]

# CUDA's compute capability: DP4A came with 6.1 and is not in 6.2; tensor cores of 7.0 take float16
# alone, those from 7.2 on INT8 too (CUDA C++ programming guide; TensorRT support matrix).
_SLOW = {61, 70}
_FIRST_FAST = 72


def int8_speed(sm: str) -> Speed:
    """Whether INT8 pays on a GPU: by tensor cores, by DP4A alone, or not at all.

    Args:
        sm: architecture, such as ``sm87``.
    """
    number = int(sm.removeprefix("sm"))
    if number >= _FIRST_FAST:
        return "fast"
    return "slow" if number in _SLOW else "none"
