"""An ONNX file into a TensorRT network, or the reasons why not, node by node."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.errors import InputError, TargetError
from detq.graph.files import load_model
from detq_deploy.trt.enums import member
from detq_deploy.trt.request import Binding, Refusal, Typing

if TYPE_CHECKING:
    import tensorrt as trt


def create_network(builder: "trt.Builder", typing: Typing) -> "trt.INetworkDefinition":
    """An empty network.

    Raises:
        TargetError: this TensorRT has no such typing.
    """
    import tensorrt as trt

    kinds = trt.NetworkDefinitionCreationFlag
    strong, batch = member(kinds, "STRONGLY_TYPED"), member(kinds, "EXPLICIT_BATCH")
    if typing == "strong" and strong is None:
        raise TargetError(
            f"TensorRT {trt.__version__} has no strongly typed networks",
            where="--typing strong",
            hint="leave it out, and write the file for this version: detq export --target",
        )
    if typing == "weak" and member(trt.BuilderFlag, "FP16") is None:
        raise TargetError(
            f"TensorRT {trt.__version__} has strongly typed networks only",
            where="--typing weak",
            hint="leave it out, and write the file for this version: detq export --target",
        )
    # Before 10 a network without the flag has an implicit batch, which no ONNX file fits.
    wanted = (strong if typing == "strong" else None, batch if strong is None else None)
    return builder.create_network(sum(1 << int(flag) for flag in wanted if flag is not None))


def parse(network: "trt.INetworkDefinition", path: Path, log: Any) -> tuple[Refusal, ...]:
    """Fill ``network``.

    Returns:
        what NVIDIA's parser refuses; nothing if it took the file.

    Raises:
        InputError: no such file, or not ONNX.
    """
    import tensorrt as trt

    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(log, "")
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(path)):
        return ()
    nodes = [(str(node.name or ""), node.op_type) for node in load_model(path).graph]
    refusals = tuple(_refusal(parser.get_error(i), nodes) for i in range(parser.num_errors))
    if not refusals:
        raise InputError(
            "is refused by NVIDIA's parser without a reason", where=str(path), hint="detq lint"
        )
    return refusals


def _refusal(error: Any, nodes: list[tuple[str, str]]) -> Refusal:
    """Of a ``trt.ParserError``; before 10 it names the node by number alone."""
    if hasattr(error, "node_name"):
        node, operator = error.node_name(), error.node_operator()
    else:
        index = error.node()
        node, operator = nodes[index] if 0 <= index < len(nodes) else ("", "")
    return Refusal(node=node, operator=operator, text=error.desc())


def bindings_of(
    network: "trt.INetworkDefinition",
) -> tuple[tuple[Binding, ...], tuple[Binding, ...]]:
    """Inputs and outputs of a network."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return tuple(map(_binding, inputs)), tuple(map(_binding, outputs))


def _binding(tensor: "trt.ITensor") -> Binding:
    shape = tensor.shape
    dims = tuple(int(shape[i]) for i in range(len(shape)))
    return Binding(name=tensor.name, dtype=tensor.dtype.name, shape=dims)
