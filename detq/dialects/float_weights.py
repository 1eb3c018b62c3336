"""Weights as floats in front of Q and DQ: the form that TensorRT 8 can read."""

import numpy as np
import onnx_ir as ir

from detq.graph.qdq import DQ, Q, along, stored_behind
from detq.graph.stored import array_of, drop_unused, store


def float_weights(model: ir.Model) -> None:
    """Put a Q on float weights in front of every DQ that reads integers from the file.

    The floats are ``W_int * scale`` in float32. Their relative error of 2^-24 is far below
    the half step that would give another integer.

    Args:
        model: Q/DQ graph; changed. What has a Q already is left alone.
    """
    graph = model.graph
    for dq in [node for node in graph if node.op_type == DQ]:
        integers, stored = dq.inputs[0], stored_behind(dq.outputs[0])
        if stored is None or integers is None or array_of(integers) is None:
            continue
        steps = along(stored.axis, stored.scale, stored.integers.ndim)
        floats = stored.integers.astype(np.float32) * steps.astype(np.float32)
        integers.name = f"{stored.name}.integers"  # leaves its name to the floats
        source = store(graph, stored.name, floats)
        q = ir.Node(
            "",
            Q,
            [source, *dq.inputs[1:]],
            [a for a in dq.attributes.values() if a.name == "axis"],
            name=f"{stored.name}.quantize",
        )
        q.outputs[0].name = q.name
        q.outputs[0].shape, q.outputs[0].type = integers.shape, integers.type
        graph.insert_before(dq, q)
        dq.replace_input_with(0, q.outputs[0])
    drop_unused(graph)
