"""What a Q/DQ file asks of an engine: which of its layers are to be INT8."""

from pathlib import Path

from detq.graph.files import TARGET, load_model
from detq.graph.qdq import DQ, Q
from detq_deploy.lint.check import lint
from detq_deploy.targets import TENSORRT

_ELSE = "trt10.3"  # for files that do not say what they are for


def asked_of(onnx: Path) -> dict[str, bool]:
    """ONNX name of each layer with weights → whether the file asks for INT8.

    Nothing for a float file: TensorRT may then choose by itself.

    Args:
        onnx: a file of detq, or any other with Q/DQ.

    Raises:
        InputError: no such file, or it is not ONNX.
    """
    model = load_model(onnx)
    if not any(node.op_type in (Q, DQ) for node in model.graph):
        return {}
    name = model.metadata_props.get(TARGET, "").partition(":")[0]
    return lint(model, TENSORRT.get(name, TENSORRT[_ELSE])).int8
