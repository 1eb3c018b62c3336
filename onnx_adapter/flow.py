"""How the image flows through the nodes of a graph: neighbours and dominators."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

START = -1  # where the image comes in; dominates every node


@dataclass(frozen=True)
class Flow:
    """Nodes by number; weights, and numbers computed from shapes, do not flow.

    Attributes:
        nodes: in the order of the graph, which is sorted.
        before: numbers of the nodes whose outputs a node reads; ``START`` for the image.
        after: numbers of the nodes that read a node's outputs.
        ends: numbers of the nodes that make an output of the graph.
    """

    nodes: Sequence[ir.Node]
    before: Sequence[Sequence[int]]
    after: Sequence[Sequence[int]]
    ends: Sequence[int]

    @cached_property
    def dominators(self) -> Sequence[int]:
        """For each node the last one that every way from the image to it goes through.

        One pass is enough as the graph has no cycle: a node is dominated by what all nodes
        before it have in common.
        """
        found: list[int] = []
        depth: list[int] = []
        for before in self.before:
            common = before[0] if before else START
            for other in before[1:]:
                common = _common(common, other, found, depth)
            found.append(common)
            depth.append(0 if common == START else depth[common] + 1)
        return found

    def common_dominator(self, nodes: Sequence[int]) -> int:
        """The last node that every way to any of ``nodes`` goes through; may be one of them."""
        chains = [self._chain(node) for node in nodes]
        shared = set(chains[0]).intersection(*chains[1:])
        return next(node for node in chains[0] if node in shared)

    def _chain(self, node: int) -> list[int]:
        chain = [node]
        while chain[-1] != START:
            chain.append(self.dominators[chain[-1]])
        return chain

    def reached_from(self, nodes: Iterable[int]) -> set[int]:
        """All nodes that ``nodes`` flow into, themselves included."""
        return _closure(nodes, self.after)

    def leading_to(self, nodes: Iterable[int]) -> set[int]:
        """All nodes that flow into ``nodes``, themselves included."""
        return _closure(nodes, self.before) - {START}


def flow_of(graph: ir.Graph) -> Flow:
    """The flow of a sorted graph."""
    nodes = tuple(graph)
    number = {node: i for i, node in enumerate(nodes)}
    before: list[list[int]] = []
    after: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        producers = dict.fromkeys(x.producer() for x in flowing(node))
        before.append([START if p is None else number[p] for p in producers])
        for source in before[-1]:
            if source != START:
                after[source].append(i)
    made = dict.fromkeys(value.producer() for value in graph.outputs)
    return Flow(nodes, before, after, [number[node] for node in made if node is not None])


def flowing(node: ir.Node) -> list[ir.Value]:
    """The inputs that depend on pixels."""
    return [x for x in node.inputs if x is not None and x.const_value is None and _is_float(x)]


def _is_float(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _common(a: int, b: int, dominators: Sequence[int], depth: Sequence[int]) -> int:
    while a != b:
        if START in (a, b):
            return START
        if depth[a] >= depth[b]:
            a = dominators[a]
        else:
            b = dominators[b]
    return a


def _closure(start: Iterable[int], neighbours: Sequence[Sequence[int]]) -> set[int]:
    seen: set[int] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += () if node == START else neighbours[node]
    return seen
