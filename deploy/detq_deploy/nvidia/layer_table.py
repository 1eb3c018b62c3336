"""NVIDIA's layer table: what the builder made of a network, kernel by kernel.

The builder's log at VERBOSE level ends with it, for networks built with detailed profiling. One
line is one kernel, with the names and types of its tensors, as TensorRT 11 writes them::

    Name: …, LayerType: correlation, Inputs: [ { Name: …, Dimensions: [1,3,320,320], …,
    Datatype: Int8, Format: … }], Constants: […], Outputs: […], …,
    Metadata: [ONNX Layer: backbone.stem.conv]
"""

import re

from detq_deploy.nvidia.kernel import Kernel, Tensor

BEGIN, END = "Layers:", "I/O Tensors:"

_ONNX_NAME = re.compile(r"\[ONNX Layer: ([^\x1e\x1f]*)\]")  # separated by \x1f
_HEAD = re.compile(r"Name: (.*?), LayerType: (\w+), ")
_TENSOR = re.compile(
    r"\{ Name: (.*?), Dimensions: \[([\d,\s-]*)\].*?Datatype: (\w+), Format: ([^}]*?) *\}"
)


def kernels_from_log(log: str) -> tuple[Kernel, ...]:
    """The layer table at the end of a builder's log; nothing where there is none."""
    _, begin, rest = log.rpartition(f"{BEGIN}\n")
    table = rest.partition(f"\n{END}")[0] if begin else ""
    return tuple(_kernel(line) for line in table.splitlines() if line.startswith("Name: "))


def nodes_from_metadata(text: str) -> tuple[str, ...]:
    """Names of the ONNX nodes that a kernel's metadata names."""
    return tuple(_ONNX_NAME.findall(text.strip()))


def _kernel(line: str) -> Kernel:
    head = _HEAD.match(line)
    if head is None:
        raise AssertionError(f"no kernel: {line[:80]}")
    body, _, names = line[head.end() :].partition("Metadata: ")
    return Kernel(
        head[1],
        head[2],
        _tensors(body, "Inputs"),
        _tensors(body, "Constants"),
        _tensors(body, "Outputs"),
        nodes_from_metadata(names),
    )


def _tensors(body: str, part: str) -> tuple[Tensor, ...]:
    _, found, rest = body.partition(f"{part}: [")
    return tuple(
        Tensor(name, tuple(int(n) for n in shape.split(",") if n.strip()), dtype, layout)
        for name, shape, dtype, layout in _TENSOR.findall(_until_closed(rest) if found else "")
    )


def _until_closed(text: str) -> str:
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0:
            return text[:place]
    return text
