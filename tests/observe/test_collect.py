import gc
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from detq.errors import CalibrationError
from detq.graph.execute import compile_slice, execute, parameters
from detq.model import FloatModel
from detq.observe import collect
from detq.placement import place
from detq.stats import TensorStats, merge, stats_of
from detq.target import PLAIN
from detq.transforms import DEFAULT, transform
from tests.block_writer import Writer
from tests.steps import images, merged
from tests.zoo import SIZE, network


def points(model: FloatModel) -> list[str]:
    return [point.value for point in place(model, PLAIN).points]


def all_values(
    model: FloatModel, names: list[str], x: NDArray[np.float32]
) -> Mapping[str, NDArray[np.float32]]:
    program = compile_slice(model.graph.graph, ["images"], names)
    feed = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    found = execute(program, {"images": feed}, parameters(program))
    return {name: tensor.numpy() for name, tensor in found.items()}


def assert_equal(a: Mapping[str, TensorStats], b: Mapping[str, TensorStats]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name].minimum, a[name].maximum) == (b[name].minimum, b[name].maximum)
        assert (a[name].count, a[name].images) == (b[name].count, b[name].images)
        np.testing.assert_array_equal(a[name].channel_minimum, b[name].channel_minimum)
        np.testing.assert_array_equal(a[name].channel_maximum, b[name].channel_maximum)
        mine, theirs = a[name].histogram, b[name].histogram
        assert (mine.exponent, mine.zeros) == (theirs.exponent, theirs.zeros)
        np.testing.assert_array_equal(mine.positive, theirs.positive)
        np.testing.assert_array_equal(mine.negative, theirs.negative)


@pytest.mark.parametrize("name", ["bifpan", "lite", "tiny_detector"])
def test_every_tensor_is_measured(name: str) -> None:
    model = merged(name)
    x = images(model, 6)
    wanted = all_values(model, points(model), x)
    found = collect(model, points(model), [x[:4], x[4:]])
    assert found.keys() == wanted.keys()
    for value, array in wanted.items():
        stats, extent = found[value], float(np.ptp(array))
        near = {"rel": 0, "abs": 1e-6 * extent}  # the order of sums depends on the batch
        assert stats.minimum == pytest.approx(array.min(), **near)
        assert stats.maximum == pytest.approx(array.max(), **near)
        for mine, theirs in (
            (stats.channel_minimum, array.min((0, 2, 3))),
            (stats.channel_maximum, array.max((0, 2, 3))),
        ):
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6 * extent)
        assert (stats.count, stats.images) == (array.size, 6)


@pytest.mark.parametrize("name", ["bifpan", "sppf", "tiny_detector"])
def test_every_element_is_counted(name: str) -> None:
    # The tensors of the same batches, concatenations among them, that are not looked at.
    model = merged(name)
    x = images(model, 4)
    found = collect(model, points(model), [x[:3], x[3:]])
    parts = [all_values(model, points(model), batch) for batch in (x[:3], x[3:])]
    each = [{value: stats_of(array) for value, array in part.items()} for part in parts]
    assert_equal(found, {value: merge(each[0][value], each[1][value]) for value in each[0]})


def test_a_concatenation_that_is_not_of_channels_is_looked_at() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        above, below = (w.conv_module(x, 8, 3, name=name) for name in ("above", "below"))
        shape = ("batch", 8, 2 * SIZE[0], SIZE[1])
        return w.op("Concat", above, below, name="stacked", shape=shape, axis=2)

    model = transform(network(body), DEFAULT)
    names = ["above.relu", "below.relu", "stacked"]
    found, x = collect(model, names, [images(model)]), images(model)
    wanted = {name: stats_of(array) for name, array in all_values(model, names, x).items()}
    assert_equal(found, wanted)
    assert len(found["stacked"].channel_maximum) == 8


def test_the_number_of_threads_plays_no_part() -> None:
    model = merged("tiny_detector")
    x, told = images(model, 7), []
    batches = [x[i : i + 1] for i in range(7)]
    alone = collect(model, points(model), batches)
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # three batches at a time, each on one thread
    try:
        assert_equal(collect(model, points(model), batches, told.append), alone)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
    assert told == [1] * 7


def test_the_order_of_the_batches_does_not_matter() -> None:
    model = merged("tiny_detector")
    x = images(model, 6)
    batches = [x[:2], x[2:4], x[4:]]
    assert_equal(
        collect(model, points(model), batches), collect(model, points(model), batches[::-1])
    )


@pytest.mark.parametrize("size", [1, 4, 6])
def test_the_size_of_the_batches_does_not_matter(size: int) -> None:
    model = merged("tiny_detector")
    x = images(model, 6)
    whole = collect(model, points(model), [x])
    parts = collect(model, points(model), [x[i : i + size] for i in range(0, 6, size)])
    for name, stats in whole.items():
        extent = stats.maximum - stats.minimum
        assert parts[name].minimum == pytest.approx(stats.minimum, rel=0, abs=1e-6 * extent)
        assert parts[name].maximum == pytest.approx(stats.maximum, rel=0, abs=1e-6 * extent)
        assert (parts[name].count, parts[name].images) == (stats.count, stats.images)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    model = merged("repvgg")
    fed: list[weakref.ref[NDArray[np.float32]]] = []

    def batches() -> Iterator[NDArray[np.float32]]:
        for seed in range(10):
            batch = images(model, 2, seed=seed)
            fed.append(weakref.ref(batch))
            yield batch
            del batch

    batches_alive, tensors_alive = [], []

    def watch(_: int) -> None:
        batches_alive.append(sum(ref() is not None for ref in fed))
        kinds = map(type, gc.get_objects())  # asking the objects would wake deprecated ones
        tensors_alive.append(sum(issubclass(kind, torch.Tensor) for kind in kinds))

    collect(model, points(model), batches(), watch)
    assert len(fed) == 10
    assert max(batches_alive) <= 2
    assert len(set(tensors_alive[1:])) == 1


def test_progress_is_told_after_each_batch() -> None:
    model = merged("repvgg")
    x, told = images(model, 5), []
    collect(model, points(model), [x[:2], x[2:4], x[4:]], told.append)
    assert told == [2, 2, 1]


def test_leaves_the_model_and_the_images_alone() -> None:
    model = merged("repvgg")
    x = images(model)
    before = ir.to_proto(model.graph).SerializeToString(deterministic=True), x.copy()
    collect(model, points(model), [x])
    assert ir.to_proto(model.graph).SerializeToString(deterministic=True) == before[0]
    np.testing.assert_array_equal(x, before[1])


def test_a_tensor_that_is_not_finite_is_named() -> None:
    copy = merged("repvgg").graph.clone()
    weight = copy.graph.initializers["block.conv.weight"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(np.full_like(weight.const_value.numpy(), 3e38), name=weight.name)
    model = FloatModel(copy, merged("repvgg").detector)
    with pytest.raises(CalibrationError) as caught:
        collect(model, ["stem.relu", "block.relu"], [images(model)])
    assert str(caught.value) == (
        "block.relu: values are not finite "
        "(the float model itself overflows here; check the checkpoint)"
    )


def test_without_images_there_is_nothing_to_say() -> None:
    model = merged("repvgg")
    with pytest.raises(CalibrationError, match="no image to calibrate with"):
        collect(model, points(model), [])


def test_a_network_without_points_needs_no_statistics() -> None:
    model = merged("repvgg")
    assert collect(model, [], [images(model)]) == {}
