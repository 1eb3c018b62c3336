"""Which nodes lie between two sets of values."""

from collections.abc import Collection

import onnx_ir as ir

from detq.errors import ModelError


def nodes_between(
    graph: ir.Graph, feeds: Collection[str], outputs: Collection[str]
) -> tuple[ir.Node, ...]:
    """Nodes needed for ``outputs`` when ``feeds`` are given, in the order of the graph.

    Args:
        graph: topologically sorted.
        feeds: names of values that are given.
        outputs: names of values that are wanted.

    Raises:
        ModelError: a name is not in the graph, or a graph input is neither given nor cut
            off.
    """
    values = values_by_name(graph)
    for name in (*feeds, *outputs):
        if name not in values:
            raise ModelError("no value of this name in the graph", where=name)
    waiting = [values[name] for name in outputs]
    needed: set[ir.Node] = set()
    while waiting:
        value = waiting.pop()
        if value.name in feeds or value.is_initializer():
            continue
        producer = value.producer()
        if producer is None:
            raise ModelError(
                "graph input is needed but not given",
                where=str(value.name),
                hint="feed it, or a value behind it",
            )
        if producer not in needed:
            needed.add(producer)
            waiting += [x for x in producer.inputs if x is not None]
    return tuple(node for node in graph if node in needed)


def values_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """Graph inputs, initializers and node outputs."""
    found = {str(value.name): value for value in graph.inputs}
    found.update(graph.initializers)
    found.update((str(value.name), value) for node in graph for value in node.outputs if value.name)
    return found
