"""Put one convolution in the place of linear nodes, and prove that nothing changed."""

from typing import Any

import numpy as np
import onnx_ir as ir

from detq.errors import NotEquivalentError
from detq.graph.build import BLOCK, KIND, STAGE
from detq.graph.stored import drop_unused
from detq.model import FloatModel
from detq.transforms.linear import LinearForm, has_branches, has_convolution, linear_form
from detq.transforms.transposed import fold_into_transposed

BRANCHES = "detq.branches"  # metadata of a convolution that parallel branches were merged into
TOLERANCE = 1e-10  # of the largest output, in float64
_MARGIN = 8  # pixels beyond the kernel in the checked image, so that inside and rim both count


def fold_bn(model: FloatModel) -> FloatModel:
    """Normalization and per-channel scales into the convolution before them."""
    merged = _merge(model, "fold_bn", branches=False)
    fold_into_transposed(merged.graph.graph)
    drop_unused(merged.graph.graph)
    return merged


def reparameterize(model: FloatModel) -> FloatModel:
    """Parallel linear branches into one convolution: RepVGG, QARepVGG, RepOpt, MobileOne."""
    return _merge(model, "reparameterize", branches=True)


def _merge(model: FloatModel, transform: str, *, branches: bool) -> FloatModel:
    merged = model.graph.clone()
    graph = merged.graph
    done: set[ir.Node] = set()
    for node in reversed(list(graph)):
        if node in done or len(node.outputs) != 1:
            continue
        form = linear_form(node.outputs[0], branches=branches)
        if form is None or len(form.nodes) < 2 or not has_convolution(form):
            continue
        if branches and not has_branches(form):
            continue
        _check(graph, form, node.outputs[0], transform)
        _replace(graph, form, node)
        done |= form.nodes
    drop_unused(graph)
    return FloatModel(merged, model.detector)


def _check(graph: ir.Graph, form: LinearForm, root: ir.Value, transform: str) -> None:
    """Both sides on one random image, in float64."""
    import torch

    from detq.graph.execute import compile_slice, execute, parameters
    from detq.graph.ops import Conv

    source, name = str(form.source.name), str(root.name)
    channels = form.weight.shape[1] * form.groups
    generator = torch.Generator().manual_seed(0)
    size = [d * k + _MARGIN for d, k in zip(form.dilation, form.weight.shape[2:], strict=True)]
    x = torch.randn(1, channels, *size, dtype=torch.float64, generator=generator)
    program = compile_slice(graph, [source], [name])
    with torch.inference_mode():
        before = execute(program, {source: x}, parameters(program, dtype=torch.float64))[name]
        after = Conv(
            x, torch.from_numpy(form.weight), torch.from_numpy(form.bias), **_geometry(form)
        )
    difference = float((before - after).abs().max())
    largest = float(before.abs().max())
    if not difference <= TOLERANCE * largest:
        where = root.producer().metadata_props.get(BLOCK) or name  # type: ignore[union-attr]
        raise NotEquivalentError(
            f"{transform} changed the output by {difference:.3g} at a largest value of "
            f"{largest:.3g}",
            where=where,
            hint=f"leave {transform} out of the recipe's transforms and report the model",
        )


def _geometry(form: LinearForm) -> dict[str, Any]:
    return {
        "kernel_shape": list(form.weight.shape[2:]),
        "strides": list(form.stride),
        "pads": [*form.before, *form.after],
        "dilations": list(form.dilation),
        "group": form.groups,
    }


def _replace(graph: ir.Graph, form: LinearForm, root: ir.Node) -> None:
    name = _name(form)
    old = root.outputs[0]
    taken = {str(n.name) for n in graph if n not in form.nodes}
    while name in taken:
        name += "_merged"
    marks = {key: root.metadata_props[key] for key in (BLOCK, KIND, STAGE)
             if key in root.metadata_props}  # fmt: skip
    if has_branches(form) or any(n.metadata_props.get(BRANCHES) for n in form.nodes):
        marks[BRANCHES] = "merged"
    weights = [
        ir.Value(
            name=f"{name}.{part}",
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array.astype(np.float32), name=f"{name}.{part}"),
        )
        for part, array in (("weight", form.weight), ("bias", form.bias))
    ]
    output = ir.Value(name=name, shape=old.shape, type=old.type)
    conv = ir.Node(
        "", "Conv", [form.source, *weights],
        ir.convenience.convert_attributes(_geometry(form)),
        outputs=[output], name=name, metadata_props=marks,
    )  # fmt: skip
    graph.insert_after(root, conv)
    if old.is_graph_output():
        output.name = old.name
    old.replace_all_uses_with(output, replace_graph_outputs=True)
    for node in reversed([n for n in graph if n in form.nodes]):
        graph.remove(node, safe=True)
    for value in weights:
        _store(graph, value)


def _store(graph: ir.Graph, value: ir.Value) -> None:
    """Take the place of an initializer of this name, unless another layer reads that one."""
    while (old := graph.initializers.get(str(value.name))) is not None and old.uses():
        value.name = f"{value.name}_merged"
    graph.initializers.pop(str(value.name), None)
    graph.register_initializer(value)


def _name(form: LinearForm) -> str:
    """A lone convolution keeps its name; branches share the path above them."""
    convolutions = [str(n.name) for n in form.nodes if n.op_type == "Conv"]
    if len(convolutions) == 1:
        return convolutions[0]
    paths = [name.split(".") for name in (str(n.name) for n in form.nodes)]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join([*shared, "conv"])
