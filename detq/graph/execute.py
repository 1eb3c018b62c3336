"""Run a graph, or any slice of it, in torch: pure, differentiable, freeing as it goes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from detq.errors import ModelError, UnsupportedOperatorError
from detq.graph.build import BLOCK
from detq.graph.foreign_ops import Leading
from detq.graph.ops import TABLE, Operator
from detq.graph.reference import reference_function
from detq.graph.slices import nodes_between

Tap = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One operator call.

    Attributes:
        function: from the table.
        inputs: value names; None for an optional input left out.
        outputs: value names.
        attributes: keyword arguments of the function.
        last_use: names that nothing needs after this step.
    """

    function: Operator
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    last_use: tuple[str, ...]
    node: str


@dataclass(frozen=True, slots=True)
class Program:
    """A slice of a graph made ready to run."""

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, ir.TensorProtocol]


def compile_slice(
    graph: ir.Graph,
    feeds: Sequence[str],
    outputs: Sequence[str] | None = None,
    *,
    table: Mapping[str, Operator] = TABLE,
) -> Program:
    """Look everything up once.

    Args:
        graph: topologically sorted, never changed.
        feeds: names of the values that will be given; intermediate ones cut the graph.
        outputs: names wanted; the graph's outputs if None.
        table: ONNX operator → function.

    What detq has no function for at all is run by ONNX's own reference, where it can.

    Raises:
        UnsupportedOperatorError: an operator is not in the table.
        ModelError: a name is not in the graph.
    """
    wanted = tuple(outputs or (str(value.name) for value in graph.outputs))
    nodes = nodes_between(graph, feeds, wanted)
    functions = {node: _function(node, table, graph.opset_imports.get("", 0)) for node in nodes}
    read = [x for node in nodes for x in node.inputs if x is not None]
    read += [graph.initializers[name] for name in wanted if name in graph.initializers]
    constants = {
        str(x.name): x.const_value
        for x in read
        if x.const_value is not None and x.name not in feeds
    }
    keep = {*wanted, *constants}
    seen: set[str] = set()
    steps = []
    for node in reversed(nodes):
        inputs = tuple(None if x is None else str(x.name) for x in node.inputs)
        made = tuple(str(x.name) for x in node.outputs)
        touched = {*filter(None, inputs), *made}
        function, attributes = functions[node]
        last_use = tuple(sorted(touched - seen - keep))
        steps.append(Step(function, inputs, made, attributes, last_use, str(node.name)))
        seen |= touched
    return Program(tuple(reversed(steps)), wanted, constants)


def run_by_reference(graph: ir.Graph) -> tuple[ir.Node, ...]:
    """Nodes without a function of detq's own: they are slow, float, and have no gradient."""
    return tuple(node for node in graph if not _is_known(node, TABLE))


def _is_known(node: ir.Node, table: Mapping[str, Operator]) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in table


def _function(
    node: ir.Node, table: Mapping[str, Operator], opset: int
) -> tuple[Operator, Mapping[str, Any]]:
    """The function of a node, and the attributes it takes."""
    if _is_known(node, table):
        return table[node.op_type], {key: x.value for key, x in node.attributes.items()}
    reference = None if node.op_type in TABLE else reference_function(node, opset)
    if reference is None:
        raise UnsupportedOperatorError(
            f"operator {node.domain or 'ONNX'} {node.op_type} is not known",
            where=str(node.metadata_props.get(BLOCK) or node.name),
            hint="add a function to detq/graph/ops.py",
        )

    def run(*tensors: Tensor | None) -> list[Tensor]:
        arrays = [None if x is None else x.detach().cpu().numpy() for x in tensors]
        try:
            found = [np.array(array) for array in reference(arrays)]
        except Exception as error:  # each operator of the reference has its own
            raise NotImplementedError(f"onnx's reference says {error}") from error
        device = next((x.device for x in tensors if x is not None), None)
        return [torch.from_numpy(array).to(device) for array in found]

    run.__name__ = node.op_type
    return run, {}


def parameters(
    program: Program, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """The constants of a program as tensors; floats in ``dtype``, or as stored if None."""
    return {
        name: _tensor(constant.numpy(), dtype, device)
        for name, constant in program.constants.items()
    }


def _tensor(array: Any, dtype: torch.dtype | None, device: str | torch.device) -> Tensor:
    # A copy: the file's bytes may be mapped read-only, and nobody may write to the graph.
    tensor = torch.from_numpy(np.array(array, copy=True))
    return tensor.to(device, dtype if dtype and tensor.is_floating_point() else tensor.dtype)


def fold_constants(program: Program, params: dict[str, Tensor]) -> Program:
    """What depends on constants alone computed once, and put into ``params``.

    For running the same program often, such as dequantizing ``W_int`` for every image.
    """
    left = []
    for step in program.steps:
        if all(name is None or name in params for name in step.inputs):
            arguments = [None if name is None else params[name] for name in step.inputs]
            params.update(zip(step.outputs, _call(step, arguments), strict=True))
        else:
            left.append(replace(step, last_use=tuple(n for n in step.last_use if n not in params)))
    used = {name for step in left for name in step.inputs} | set(program.outputs)
    for name in [name for name in params if name not in used]:
        del params[name]
    return replace(program, steps=tuple(left))


def execute(
    program: Program,
    feeds: Mapping[str, Tensor],
    params: Mapping[str, Tensor],
    *,
    tap: Tap | None = None,
) -> dict[str, Tensor]:
    """Run a program; the same arguments give the same result.

    Args:
        program: from ``compile_slice``.
        feeds: tensors for the names that the program was compiled with.
        params: from ``parameters``, any of them overridden, for example by tensors that
            require gradients.
        tap: sees every value when it is made and may return another in its place.

    Returns:
        The wanted values by name.
    """
    values: dict[str, Tensor] = {**feeds}
    if tap is not None:
        values.update((name, tap(name, tensor)) for name, tensor in feeds.items())
    for step in program.steps:
        arguments = [
            None if name is None else values[name] if name in values else params[name]
            for name in step.inputs
        ]
        result = _call(step, arguments)
        for name, tensor in zip(step.outputs, result, strict=True):
            values[name] = tensor if tap is None else tap(name, tensor)
        for name in step.last_use:
            values.pop(name, None)
    return {name: values[name] if name in values else params[name] for name in program.outputs}


def _call(step: Step, arguments: list[Tensor | None]) -> Sequence[Tensor]:
    try:
        result = step.function(*arguments, **step.attributes)
    except (NotImplementedError, TypeError) as error:
        raise UnsupportedOperatorError(
            f"this form of {step.function.__name__} is not known: {error}",
            where=step.node,
            hint="add it to detq/graph/ops.py",
        ) from error
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError, ValueError) as error:  # torch names no node
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{step.function.__name__} does not fit its inputs: {reason}",
            where=step.node,
            hint="the graph is damaged, or made for another image size",
        ) from error
    results = (result,) if isinstance(result, Tensor) else result
    if isinstance(results, Leading):
        results = results[: len(step.outputs)]
    if len(results) != len(step.outputs):
        raise UnsupportedOperatorError(
            f"{step.function.__name__} with {len(step.outputs)} outputs is not known",
            where=step.node,
            hint="add it to detq/graph/ops.py",
        )
    return results


@contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 with 24 bits: GPUs may not shorten it to TF32 inside."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
