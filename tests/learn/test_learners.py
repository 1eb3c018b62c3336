"""What every learner promises; a new one is held to it by its line in the table."""

from typing import get_args

import numpy as np
import pytest
from torch import Tensor

from detq.learn import LEARNERS, learn
from detq.learn.int8_layers import clip_ends
from detq.learn.store import Store
from detq.quantized import scales_of, weights_of
from detq.recipe import AdaRound, LearnMethod, QPRep
from detq.target import PLAIN, Target
from tests.learn.tasks import (
    CPU,
    METHODS,
    PER_TENSOR,
    SIX_BITS,
    as_bytes,
    initializers,
    structure,
    task,
)

CASES = [("repvgg", PLAIN), ("lite", SIX_BITS), ("bifpan", CPU), ("sppf", PER_TENSOR)]


each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
each_case = pytest.mark.parametrize(("network", "target"), CASES, ids=[name for name, _ in CASES])


def test_every_method_of_a_recipe_has_a_learner() -> None:
    tags = [str(kind.__struct_config__.tag) for kind in get_args(LearnMethod)]
    assert sorted(LEARNERS) == sorted(tags)
    assert {type(method) for method in METHODS} == set(get_args(LearnMethod))


@each_case
@each_method
def test_what_is_kept_and_what_may_change(
    method: LearnMethod, network: str, target: Target
) -> None:
    given = task(network, target)
    before = as_bytes(given.quantized), as_bytes(given.floated), given.images.copy()
    nodes = structure(given.quantized.graph.graph)
    told = LEARNERS[str(method.__struct_config__.tag)](given, method)

    assert told.losses
    assert all(loss.after <= loss.before for loss in told.losses)

    # The arguments are as they were.
    assert (as_bytes(given.quantized), as_bytes(given.floated)) == before[:2]
    np.testing.assert_array_equal(given.images, before[2])
    assert structure(given.quantized.graph.graph) == nodes

    # The structure is, but for biases where there were none; so are names and types.
    found = structure(told.model.graph.graph)
    for old, new in zip(nodes, found, strict=True):
        assert (old[0], old[1], old[3], old[4]) == (new[0], new[1], new[3], new[4])
        assert new[2][: len(old[2])] == old[2]
    arrays, old_arrays = initializers(told.model), initializers(given.quantized)
    assert {k: (x.dtype, x.shape) for k, x in old_arrays.items()}.items() <= {
        k: (x.dtype, x.shape) for k, x in arrays.items()
    }.items()
    assert all(name.endswith(".bias") for name in arrays.keys() - old_arrays.keys())

    # Integers stay on their grid, scales positive, and the ends of Clips follow their scale.
    grid = target.weights
    for name, codes, scale in weights_of(told.model.graph):
        assert grid.lowest <= codes.min() <= codes.max() <= grid.highest, name
        assert (scale > 0).all()
    assert all(np.isfinite(x) and x > 0 for x in scales_of(told.model.graph).values())
    for scale_name, ends in clip_ends(told.model.placement).items():
        for end, integer in ends:
            wanted = arrays[scale_name] * np.float32(integer)
            np.testing.assert_array_equal(arrays[end], wanted)

    # What no learner may touch.
    changed = {name for name in old_arrays if old_arrays[name].tobytes() != arrays[name].tobytes()}
    layers = {layer.node for layer in told.model.placement.layers if layer.int8}
    read = {
        x.name
        for node in told.model.graph.graph
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Clip") or node.name in layers
        for x in node.inputs
        if x is not None
    }
    assert changed <= read


@each_method
def test_something_is_learned(method: LearnMethod) -> None:
    found = LEARNERS[str(method.__struct_config__.tag)](task("lite", SIX_BITS), method)
    assert any(loss.after < 0.98 * loss.before for loss in found.losses)


@each_method
def test_the_same_seed_gives_the_same_bytes(method: LearnMethod) -> None:
    first, second = (
        LEARNERS[str(method.__struct_config__.tag)](task("lite"), method).model for _ in range(2)
    )
    assert as_bytes(first) == as_bytes(second)


@each_method
def test_memory_or_disk_is_all_the_same(method: LearnMethod) -> None:
    learner = LEARNERS[str(method.__struct_config__.tag)]
    in_memory = learner(task("lite"), method)
    on_disk = learner(task("lite", cache_gib=1e-9), method)
    assert as_bytes(in_memory.model) == as_bytes(on_disk.model)


@each_method
def test_a_network_for_a_fixed_batch_gets_no_other(
    method: LearnMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set()
    read = Store.read

    def spy(store: Store, name: str, rows: slice | Tensor) -> Tensor:
        found = read(store, name, rows)
        if name == "images":
            sizes.add(len(found))
        return found

    monkeypatch.setattr(Store, "read", spy)
    given = task("repvgg", count=8, fixed_batch=4)
    LEARNERS[str(method.__struct_config__.tag)](given, method)
    assert sizes == {4}


@each_method
def test_steps_are_told_to_the_end(method: LearnMethod) -> None:
    told: list[tuple[int, int]] = []
    given = task("bifpan", on_step=lambda done, total: told.append((done, total)))
    LEARNERS[str(method.__struct_config__.tag)](given, method)
    done, totals = [d for d, _ in told], {t for _, t in told}
    assert done == sorted(done)
    assert totals == {done[-1]}


def test_the_whole_is_kept_only_if_it_is_nearer_to_the_float_network() -> None:
    given = task("tiny_detector", SIX_BITS)
    model, told = learn(given, QPRep())
    assert told.kept
    assert told.snr_db_after >= told.snr_db_before
    assert as_bytes(model) != as_bytes(given.quantized)


def test_a_learner_that_harms_the_whole_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    import detq.learn as package

    given = task()
    harmed = LEARNERS["qprep"](given, QPRep())
    for name, value in harmed.model.graph.graph.initializers.items():
        if name.endswith(".scale") and value.const_value is not None:
            value.const_value = type(value.const_value)(value.const_value.numpy() * np.float32(3))
    monkeypatch.setitem(package.LEARNERS, "adaround", lambda task, options: harmed)  # type: ignore[arg-type]
    model, told = learn(given, AdaRound())
    assert not told.kept
    assert told.snr_db_after < told.snr_db_before
    assert model is given.quantized
