"""Names a person can read: the module path where the exporter left one.

A node, its output and its weights share a name, as ``detq.graph.build`` gives them:
``backbone.stem.conv`` and ``backbone.stem.conv.weight``.
"""

import re
from collections.abc import Iterable, Mapping

import onnx
import onnx_ir as ir

from detq.graph.build import CALLED

_LONGEST = 120
_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
_PARTS = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "BatchNormalization": ("", "weight", "bias", "mean", "variance"),
}


class Names:
    """Hands out each name once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._count: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """The name, or the name and a number."""
        candidate = name
        while candidate in self._taken:
            self._count[name] = self._count.get(name, 0) + 1
            candidate = f"{name}_{self._count[name]}"
        self._taken.add(candidate)
        return candidate


def path_of(node: ir.Node) -> str:
    """The module path of a node, or its operator in lower case where there is none."""
    operator = node.op_type.lower()
    weight = node.inputs[1] if node.op_type in _WEIGHTS and len(node.inputs) > 1 else None
    if weight is not None and weight.const_value is not None and len(weight.uses()) == 1:
        path, _, part = str(weight.name).rpartition(".")
        if part == "weight" and re.fullmatch(r"[\w.]+", path):
            return _short(path)
    parts = _without_repeats(re.split(r"[/:]+", str(node.name or "").strip("/")))
    is_operator = onnx.defs.has(re.sub(r"_\d+$", "", parts[-1]))
    if is_operator and node.op_type in _WEIGHTS and len(parts) > 1:
        parts = parts[:-1]
    elif is_operator:
        parts[-1] = operator
    name = ".".join(filter(None, (_clean(part) for part in parts)))
    return _short(name) if re.search(r"[A-Za-z]", name) else operator


def _without_repeats(parts: list[str]) -> list[str]:
    """``stem/stem.0/conv`` is ``stem.0/conv``: torch writes the container's name again."""
    return [
        part
        for part, following in zip(parts, [*parts[1:], ""], strict=True)
        if not following.startswith(f"{part}.")
    ]


def _clean(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z_.]+", "_", text).strip("._")


def _short(name: str) -> str:
    return _clean(name)[-_LONGEST:].strip("._")


def rename(graph: ir.Graph, paths: Mapping[ir.Node, str]) -> None:
    """Give every node, value and initializer its name; inputs and outputs keep theirs.

    Args:
        graph: changed.
        paths: the name each node would like to have.
    """
    names = Names(str(value.name) for value in (*graph.inputs, *graph.outputs))
    stored = dict.fromkeys(graph.initializers.values())
    graph.initializers.clear()
    for node in graph:
        node.name = names.unique(paths[node])
        inner = [value for value in node.outputs if not value.is_graph_output()]
        for index, value in enumerate(inner):
            value.meta[CALLED] = value.name
            value.name = (
                node.name if len(node.outputs) == 1 else names.unique(f"{node.name}.{index}")
            )
        for index, x in enumerate(node.inputs):
            if x is not None and x in stored:
                del stored[x]
                x.name = names.unique(f"{node.name}.{_part(node, index)}")
                graph.register_initializer(x)
    for value in stored:  # an output of the graph itself
        graph.register_initializer(value)


def _part(node: ir.Node, index: int) -> str:
    """What an input is called: ``weight``, or the operator's own word for it."""
    if index < len(_PARTS.get(node.op_type, ())):
        return _PARTS[node.op_type][index]
    try:
        formal = onnx.defs.get_schema(node.op_type).inputs
    except onnx.defs.SchemaError:
        return "constant"
    return formal[min(index, len(formal) - 1)].name.lower() if formal else "constant"
