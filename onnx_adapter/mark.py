"""Blocks, stages and decoding written on the nodes, where everything behind reads them."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from detq.graph.build import BLOCK, KIND, STAGE
from onnx_adapter.blocks import WEIGHTED, Unit, find_blocks
from onnx_adapter.decode import Decode
from onnx_adapter.flow import Flow
from onnx_adapter.names import Names, path_of, rename
from onnx_adapter.stages import Place, find_stages, stage_name


def name_and_mark(graph: ir.Graph, flow: Flow, decode: Decode, strides: Mapping[int, int]) -> None:
    """Name all nodes, and mark each with its block and stage.

    Marks that detq wrote stay as they are.

    Args:
        graph: sorted; changed.
        flow: of the graph.
        decode: its end.
        strides: prediction → pixels per cell.
    """
    blocks = find_blocks(flow, decode.nodes)
    paths = [path_of(node) for node in flow.nodes]
    names = _block_names(blocks, flow.nodes, paths)
    rename(graph, dict(zip(flow.nodes, paths, strict=True)))
    if _is_marked(graph):
        return
    for node in graph:
        for key in (BLOCK, KIND, STAGE):
            node.metadata_props.pop(key, None)
    places = find_stages(flow, decode, blocks, strides)
    for node, place in zip(flow.nodes, places, strict=True):
        node.metadata_props[STAGE] = stage_name(place)
    for unit, name in zip(blocks, names, strict=True):
        for number in unit.nodes:
            flow.nodes[number].metadata_props.update({BLOCK: name, KIND: unit.kind})
    _sort_by_stage(graph, dict(zip(flow.nodes, places, strict=True)))


def _sort_by_stage(graph: ir.Graph, places: Mapping[ir.Node, Place]) -> None:
    """Stages one after another, so that their order in the graph is the order of the data."""
    nodes = sorted(graph, key=places.__getitem__)
    graph.remove(nodes)
    graph.extend(nodes)


def _is_marked(graph: ir.Graph) -> bool:
    marks = [node.metadata_props for node in graph]
    return any(STAGE in mark for mark in marks) and all(
        KIND in mark for mark in marks if BLOCK in mark
    )


def _block_names(blocks: Sequence[Unit], nodes: Sequence[ir.Node], paths: list[str]) -> list[str]:
    """The path that the convolutions of a block share; a number where there are no paths.

    ``paths`` is changed then: the convolution that branches are merged into is named after
    the path above them, so they need one.
    """
    names = Names(())
    found = []
    for count, unit in enumerate(blocks):
        if all(paths[node] == nodes[node].op_type.lower() for node in unit.nodes):
            for node in unit.nodes:
                paths[node] = f"block_{count}.{paths[node]}"
        weighted = [node for node in unit.nodes if nodes[node].op_type in WEIGHTED]
        parts = [paths[node].split(".") for node in weighted or unit.nodes]
        found.append(names.unique(_shared(parts) or paths[unit.nodes[-1]]))
    return found


def _shared(paths: Sequence[Sequence[str]]) -> str:
    count = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        count += 1
    return ".".join(paths[0][:count])
