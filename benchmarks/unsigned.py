"""Another tool's Q/DQ file with its int8 activations stored as uint8: the same reals.

OpenVINO adds up int8 behind a Concat wrongly (``detq_deploy/signed_concat.py``); in this form a
file shows there what its numbers are worth.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from detq.graph.files import load_model, save_model
from detq.graph.qdq import DQ, Q
from detq.graph.stored import array_of, drop_unused


def as_uint8(path: Path, output: Path) -> None:
    """Write ``output`` from ``path``: codes and zero points of activations 128 higher."""
    model = load_model(path)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for q in [node for node in model.graph if node.op_type == Q]:
        zero = array_of(q.inputs[2]) if len(q.inputs) > 2 else None
        if zero is None or zero.dtype != np.int8 or array_of(q.inputs[0]) is not None:
            continue
        codes = q.outputs[0]
        codes.dtype = ir.DataType.UINT8
        name = f"{codes.name}.zero_point"
        raised = (zero.astype(np.int16) + 128).astype(np.uint8)
        shifted = ir.Value(
            name=name,
            const_value=ir.Tensor(raised, name=name),
            type=ir.TensorType(ir.DataType.UINT8),
            shape=ir.Shape(raised.shape),
        )
        model.graph.initializers[name] = shifted
        for node in [q, *(use.node for use in codes.uses())]:
            if node.op_type not in (Q, DQ):
                raise ValueError(f"{codes.name} is read by {node.op_type}")
            node.replace_input_with(2, shifted)
    drop_unused(model.graph)
    save_model(model, output)
