"""TensorRT's element types as numpy's.

``tensorrt.nptype`` is not used: that of 8.4 and 8.5 fails with any numpy of today.
"""

from typing import Any

import numpy as np

from detq.errors import TargetError

_NUMPY = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


def numpy_dtype(dtype: Any) -> "np.dtype[Any]":
    """The numpy type of a ``tensorrt.DataType``.

    Raises:
        TargetError: numpy has no such type (BF16, FP8, INT4).
    """
    name = str(dtype.name)
    if name not in _NUMPY:
        raise TargetError(
            f"tensors of {name} cannot be exchanged with Python",
            hint="build with inputs and outputs of float32, float16 or integers",
        )
    return np.dtype(_NUMPY[name])
