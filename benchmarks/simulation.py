"""How exactly the torch interpreter follows ONNX Runtime without optimizations, node by node.

    python benchmarks/simulation.py model.plain.onnx --data images/ --count 4

Two float32 engines add up a convolution in another order. Behind a rounding, the last bit of a
sum near a tie becomes a whole step, and the steps of one layer are the input of the next: so
whole networks drift apart although every node agrees. Therefore each node is run on the very
inputs that ONNX Runtime had. Printed are the largest difference over the range of the node's
output, for all nodes but QuantizeLinear, and for these the share of elements on another
integer and by how many steps; and for comparison the drift at the end of the network.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from detq.data.images import choose_images, list_images, read_image
from detq.data.letterbox import letterbox, network_input
from detq.graph.execute import compile_slice, execute, parameters
from detq.graph.files import detector_from_metadata, load_model

Values = dict[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    detector = detector_from_metadata(model.metadata_props, str(arguments.model))
    session = open_with_all_values(model)
    worst_node, worst = "", 0.0
    flipped = elements = steps = 0
    drift = 0.0
    for ref in choose_images(list_images(arguments.data), arguments.count, 0):
        boxed, _ = letterbox(read_image(ref.path), detector.size)
        feed = network_input([boxed], detector.preprocessing)
        seen = values_of(session, feed)
        drift = max(drift, drift_at_the_end(model, feed, seen))
        for node, wanted, found in compare_nodes(model, seen):
            if node.op_type == "QuantizeLinear":
                difference = np.abs(wanted.astype(np.int64) - found.astype(np.int64))
                flipped += int((difference > 0).sum())
                elements += difference.size
                steps = max(steps, int(difference.max()))
                continue
            span = float(wanted.max()) - float(wanted.min())
            share = float(np.abs(wanted.astype(np.float64) - found).max()) / (span or 1.0)
            if share > worst:
                worst_node, worst = f"{node.op_type} {node.name}", share
    print(json.dumps({
        "model": arguments.model.name,
        "source": detector.source,
        "images": arguments.count,
        "largest_difference_of_range": worst,
        "at": worst_node,
        "integers": elements,
        "other_integers": flipped,
        "largest_step": steps,
        "drift_of_range_at_the_end": drift,
    }, indent=1))  # fmt: skip


def open_with_all_values(model: ir.Model) -> ort.InferenceSession:
    """A session that runs node by node and gives every value."""
    copy = model.clone()
    known = set(copy.graph.outputs)
    for node in list(copy.graph):
        copy.graph.outputs.extend(value for value in node.outputs if value not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = ir.to_proto(copy).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def values_of(session: ort.InferenceSession, feed: NDArray[np.float32]) -> Values:
    """Every value by name."""
    name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]
    return {name: feed, **dict(zip(names, session.run(names, {name: feed}), strict=True))}


def compare_nodes(
    model: ir.Model, seen: Values
) -> Iterator[tuple[ir.Node, NDArray[Any], NDArray[Any]]]:
    """Each node with ONNX Runtime's output and the interpreter's, from the same inputs."""
    for node in model.graph:
        feeds = {
            str(x.name): torch.from_numpy(seen[str(x.name)])
            for x in node.inputs
            if x is not None and x.const_value is None
        }
        output = str(node.outputs[0].name)
        program = compile_slice(model.graph, list(feeds), [output])
        with torch.inference_mode():
            found = execute(program, feeds, parameters(program))[output]
        yield node, seen[output], found.numpy()


def drift_at_the_end(model: ir.Model, feed: NDArray[np.float32], seen: Values) -> float:
    """Largest difference of the network's output over its range, when each runs on its own."""
    name, output = str(model.graph.inputs[0].name), str(model.graph.outputs[0].name)
    program = compile_slice(model.graph, [name])
    with torch.inference_mode():
        found = execute(program, {name: torch.from_numpy(feed)}, parameters(program))[output]
    shares = []
    for columns in (slice(0, 4), slice(4, None)):  # boxes in pixels, scores
        wanted = seen[output][..., columns]
        difference = np.abs(wanted - found.numpy()[..., columns]).max()
        shares.append(float(difference / (wanted.max() - wanted.min())))
    return max(shares)


if __name__ == "__main__":
    main()
