"""What is looked at before statistics are believed: weights and images."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.detection import Preprocessing
from detq.errors import CalibrationError, ModelError

# Of the largest value that a pixel can have: darker than all images together will be.
DARK = 1 / 128
SLACK = 1e-3


def check_weights(graph: ir.Graph) -> None:
    """Every stored number that a layer computes with.

    Raises:
        ModelError: one is not finite; the layer is named.
    """
    for node in graph:
        for value in node.inputs:
            stored = None if value is None else value.const_value
            if value is None or stored is None or stored.dtype not in _FLOATS:
                continue
            wrong = int(np.count_nonzero(~np.isfinite(np.asarray(stored.numpy(), np.float64))))
            # An infinite end of a Clip means that there is none.
            if wrong and node.op_type in ("Clip", "Max", "Min", "Where"):
                wrong = int(np.isnan(np.asarray(stored.numpy(), np.float64)).sum())
            if wrong:
                raise ModelError(
                    f"{wrong} of {stored.size} numbers in {value.name} are not finite",
                    where=f"layer {node.name}",
                    hint="the checkpoint is damaged, or its training diverged; take an earlier one",
                )


_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


class InputCheck:
    """Whether images have the range that the preprocessing gives them.

    Args:
        preprocessing: of the network.
        name: of its input, for the errors.
    """

    def __init__(self, preprocessing: Preprocessing, name: str) -> None:
        self._highest, self._name = 255 * preprocessing.scale, name
        self._seen = 0.0

    def add(self, batch: NDArray[Any]) -> None:
        """One batch.

        Raises:
            CalibrationError: a value no pixel can have.
        """
        low, high = float(batch.min()), float(batch.max())
        slack = SLACK * self._highest
        if not (-slack <= low and high <= self._highest + slack):
            raise CalibrationError(
                f"images range from {low:g} to {high:g} where the network is made for 0 to "
                f"{self._highest:g}",
                where=self._name,
                hint="give pixels of 0 to 255 times the scale of the model's preprocessing",
            )
        self._seen = max(self._seen, high)

    def close(self) -> None:
        """All images are through.

        Raises:
            CalibrationError: they are scaled down once too often.
        """
        if 0 < self._seen <= DARK * self._highest:
            raise CalibrationError(
                f"no image is brighter than {self._seen:g} where the network is made for 0 to "
                f"{self._highest:g}",
                where=self._name,
                hint="pixels of 0 to 255 are scaled once; or all images are black: give others",
            )
