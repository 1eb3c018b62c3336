"""Which layer reads which: every layer says where its input comes from."""

from collections.abc import Sequence

import onnx_ir as ir

from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer, check_all_written

MOST_INPUTS = 64  # one long list could serve many layers


def write_layers(
    write: Writer, root: Module, layers: Sequence[Module], x: ir.Value
) -> tuple[ir.Value, ...]:
    """All layers but the head; what the head reads, finest first.

    Raises:
        UnsupportedBlockError: there is no builder for a layer.
        CheckpointError: the layers do not fit each other.
    """
    kept, found = _kept(root), [x]  # what layer i gives lies at i + 1
    with write.to.scope("model"):
        for layer in layers[:-1]:
            inputs = [found[1 + i] for i in sources_of(layer, kept)]
            found.append(_layer(write, layer, inputs))
            check_all_written(write, layer)
    return tuple(found[1 + i] for i in sources_of(layers[-1], kept))


def sources_of(layer: Module, kept: frozenset[int]) -> list[int]:
    """Numbers of the layers that a layer reads; -1 is the image.

    ``f`` is one number or a list: -1 for the layer before, the number of an earlier one that
    is kept, or how far back a kept one lies.
    """
    here, given = layer.integer("i"), layer.attributes.get("f")
    numbers = given if isinstance(given, (list, tuple)) else [given]
    if not 1 <= len(numbers) <= MOST_INPUTS:
        raise layer.damaged(f"it reads {len(numbers)} layers")
    found = []
    for number in numbers:
        if type(number) is not int:
            raise layer.damaged("it does not say where its input comes from")
        source = here + number if number < 0 else number
        if source != here - 1 and (not 0 <= source < here or source not in kept):
            raise layer.damaged(f"it reads {number}, which is no earlier layer that is kept")
        found.append(source)
    return found


def _layer(write: Writer, m: Module, inputs: Sequence[ir.Value]) -> ir.Value:
    if m.name == "Concat":
        if m.integer("d") != 1:
            raise m.unsupported("only channels are joined")
        write.written.add(m.path)
        with write.to.scope(m.key):
            return write.concat(m, *inputs)
    if len(inputs) != 1:
        raise m.damaged(f"{len(inputs)} inputs for a {m.name}")
    with write.to.stage(m.path):
        return write.apply(m, inputs[0])


def _kept(root: Module) -> frozenset[int]:
    found = root.attributes.get("save")
    if not isinstance(found, (list, tuple)) or not all(type(n) is int for n in found):
        raise root.damaged("save is not a list of numbers")
    return frozenset(found)
