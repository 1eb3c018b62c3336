"""The float network that flows through the transforms."""

from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from detq.detection import Detector
from detq.graph.build import BLOCK, DECODE, KIND, STAGE


@dataclass(frozen=True, slots=True)
class Block:
    """Nodes that belong together, such as the branches of one RepVGG block.

    Attributes:
        name: module path.
        kind: class of the module it was read from.
        stage: stage it lies in.
        nodes: in the order of the graph.
    """

    name: str
    kind: str
    stage: str
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class FloatModel:
    """A float32 graph with its contract; nobody changes ``graph`` once it is in here.

    Blocks and stages are read from the nodes' metadata, so they cannot drift from the
    graph and survive in the file.

    Attributes:
        graph: the ONNX model; branches apart as read from a checkpoint, or merged.
        detector: what goes in and comes out.
    """

    graph: ir.Model
    detector: Detector

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in the order of their first node."""
        members: dict[str, list[ir.Node]] = {}
        for node in self.graph.graph:
            if name := node.metadata_props.get(BLOCK):
                members.setdefault(name, []).append(node)
        return tuple(
            Block(
                name,
                nodes[0].metadata_props[KIND],
                nodes[0].metadata_props.get(STAGE, ""),
                tuple(nodes),
            )
            for name, nodes in members.items()
        )

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where any is taken."""
        images = self.graph.graph.inputs[0].shape
        batch = None if images is None else images[0]
        return batch if isinstance(batch, int) else None

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in the order of the graph."""
        found = (node.metadata_props.get(STAGE) for node in self.graph.graph)
        return tuple(dict.fromkeys(stage for stage in found if stage))

    @cached_property
    def parameters(self) -> int:
        """Number of learned weights and biases; running statistics and anchors are neither."""
        return sum(
            value.const_value.size
            for value in self.graph.graph.initializers.values()
            if value.const_value is not None
            and value.dtype == ir.DataType.FLOAT
            and any(_is_learned(node, index) for node, index in value.uses())
        )


_STATISTICS = (3, 4)  # inputs of BatchNormalization


def _is_learned(node: ir.Node, index: int) -> bool:
    if node.metadata_props.get(STAGE) == DECODE or node.op_type == "Resize":
        return False
    return not (node.op_type == "BatchNormalization" and index in _STATISTICS)
