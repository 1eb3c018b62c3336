"""The engine inspector's JSON: what TensorRT made of a network, layer by layer.

One reader for all versions. TensorRT 8.2 to 10 write ``Layers`` and ``Bindings``, with layout and
type of a tensor in one phrase (``Thirty-two wide channel vectorized row major Int8 format``);
TensorRT 11 writes ``I/O Tensors``, with both apart. An engine built without detailed profiling has
mere names for layers. trtexec writes the same with ``--exportLayerInfo``, and times of the layers
with ``--exportProfile``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from detq.errors import InputError
from detq_deploy.nvidia.kernel import Kernel, Tensor
from detq_deploy.nvidia.layer_table import nodes_from_metadata

_WEIGHTS = "weights"
_SEPARATORS = str.maketrans({"\x1e": " ", "\x1f": " "})
_PROFILE = re.compile(r"\s*\[profile (\d+)\]$")  # of engines with several
_POINTWISE = re.compile(r"\bPWN\(|\)+$|\bPWN\b")
# In this order: UInt8 would be found as Int8.
_TYPES = (
    ("uint8", "UInt8"), ("int8", "Int8"), ("bfloat16", "BFloat16"), ("bf16", "BFloat16"),
    ("fp16", "Half"), ("half", "Half"), ("fp32", "Float"), ("fp8", "FP8"), ("float", "Float"),
    ("int32", "Int32"), ("int64", "Int64"), ("bool", "Bool"),
)  # fmt: skip


def kernels_from_inspector(text: str, where: str = "") -> tuple[Kernel, ...]:
    """Layers of an engine, of its first optimization profile.

    Args:
        text: JSON of ``IEngineInspector``, or a file of ``trtexec --exportLayerInfo``.
        where: it comes from, for the error.

    Raises:
        InputError: it is something else.
    """
    found = _decoded(text, where)
    layers = found.get("Layers") if isinstance(found, Mapping) else None
    if not isinstance(layers, list):
        raise _unknown(where)
    kernels = (_kernel(layer, where) for layer in layers)
    return tuple(kernel for kernel in kernels if kernel is not None)


def times_from_profile(text: str, where: str = "") -> dict[str, float]:
    """Milliseconds of each layer by name, from a file of ``trtexec --exportProfile``.

    The median where the version writes one, else the mean.

    Raises:
        InputError: it is something else.
    """
    found = _decoded(text, where)
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    if not rows or not any("averageMs" in row for row in rows):
        raise _unknown(where)
    return {
        plain_name(str(row["name"])): float(row.get("medianMs", row["averageMs"]))
        for row in rows
        if "name" in row and "averageMs" in row
    }


def plain_name(name: str) -> str:
    """A layer's name without separators and without the optimization profile it is of."""
    return _PROFILE.sub("", name.translate(_SEPARATORS))


def is_profile(text: str) -> bool:
    """Whether a JSON text is times rather than layers."""
    return text.lstrip().startswith("[")


def detailed(kernels: Sequence[Kernel]) -> bool:
    """Whether the engine tells more than names; it does if built with detailed profiling."""
    return any(kernel.layer_type for kernel in kernels)


def _decoded(text: str, where: str) -> Any:
    try:
        # Old versions write names with raw control characters.
        return json.loads(text, strict=False)
    except ValueError as error:
        raise InputError(
            f"is not JSON: {error}", where=where, hint="write it again with trtexec"
        ) from error


def _unknown(where: str) -> InputError:
    return InputError(
        "holds neither the layers nor the times of an engine",
        where=where,
        hint="give a file of trtexec --exportLayerInfo or --exportProfile",
    )


def _kernel(layer: Any, where: str) -> Kernel | None:
    if isinstance(layer, str):
        layer = {"Name": layer}
    if not isinstance(layer, Mapping) or "Name" not in layer:
        raise _unknown(where)
    name = plain_name(str(layer["Name"]))
    profile = _PROFILE.search(str(layer["Name"]))
    if profile is not None and int(profile[1]) > 0:
        return None
    inputs = _tensors(layer.get("Inputs"))
    # CaskDeconvolutionV2 says Convolution here: the layer's own type tells more.
    kind = str(layer.get("LayerType", ""))
    return Kernel(
        name,
        kind,
        inputs,
        (*_weights(layer, inputs), *_tensors(layer.get("Constants"))),
        _tensors(layer.get("Outputs")),
        nodes_from_metadata(str(layer.get("Metadata", ""))) or _nodes_from_name(name),
        str(layer.get("Origin", "")),
    )


def _tensors(found: Any) -> tuple[Tensor, ...]:
    return tuple(_tensor(one) for one in found or () if isinstance(one, Mapping))


def _tensor(found: Mapping[str, Any]) -> Tensor:
    both = str(found.get("Format/Datatype", ""))
    dtype = str(found.get("Datatype") or found.get("DataType") or both)
    layout = str(found.get("Format") or both)
    shape = tuple(int(n) for n in found.get("Dimensions") or ())
    return Tensor(str(found.get("Name", "")), shape, _type(dtype), layout)


def _type(phrase: str) -> str:
    lower = phrase.lower()
    return next((dtype for word, dtype in _TYPES if word in lower), phrase)


def _weights(layer: Mapping[str, Any], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Weights of a convolution as a tensor [outputs, inputs of a group, height, width]."""
    # ConvActPool writes Conv in front of every key.
    weights, kernel, outputs = (
        layer.get(key, layer.get(f"Conv{key}")) for key in ("Weights", "Kernel", "OutMaps")
    )
    if not isinstance(weights, Mapping) or not kernel or not outputs:
        return ()
    height, width = [*list(kernel), 1][:2]
    count = int(weights.get("Count", 0))
    per_output = count // (int(outputs) * int(height) * int(width))
    shape = (int(outputs), per_output, int(height), int(width))
    return (Tensor(_WEIGHTS, shape, _type(str(weights.get("Type", "")))),) if count else ()


def _nodes_from_name(name: str) -> tuple[str, ...]:
    """TensorRT before 8.6 tells ONNX nodes in the name alone: ``a.weight + a.quantize + a``."""
    parts = re.split(r" \+ |\|\||, ", _POINTWISE.sub("", name))
    return tuple(part.strip() for part in parts if part.strip())
