import numpy as np
import onnx_ir as ir
import pytest
import torch

from detq.graph.execute import compile_slice, execute
from detq.graph.slices import values_by_name
from detq.learn.fold import fold_bias, fold_gain
from detq.learn.int8_layers import int8_layers
from detq.learn.state import affine, state_of
from detq.quantized import QuantizedModel, weights_of
from detq.transforms.coarse_fine import split_coarse_fine, splittable
from tests.block_writer import Writer
from tests.steps import images, merged, quantized
from tests.zoo import network

GAINS = (1.0, 0.5, -0.75, 0.0, -1.0, 3.0, 1e-12, -1e-3)


def codes(shape: tuple[int, ...]) -> torch.Tensor:
    values = torch.arange(-127, 128, dtype=torch.int8)
    return values.repeat(1 + int(np.prod(shape)) // 255)[: int(np.prod(shape))].reshape(shape)


def test_integers_stay_up_to_the_sign_bit_for_bit() -> None:
    q, scale = codes((8, 3, 3, 3)), torch.rand(8) + 0.1
    gain = torch.tensor(GAINS, dtype=torch.float64)
    found, wide = fold_gain(q, scale, gain, 0)
    signs = [1, 1, -1, 0, -1, 1, 0, -1]
    for channel, sign in enumerate(signs):
        assert found[channel].equal(q[channel] * sign)
    assert (found.dtype, wide.dtype) == (torch.int8, torch.float32)
    alive = torch.tensor([sign != 0 for sign in signs])
    assert wide[alive].equal((gain.abs() * scale)[alive].float())
    assert wide[~alive].equal(scale[~alive])  # any positive scale does, the integers are 0


def test_the_most_negative_integer_has_room_for_its_sign() -> None:
    q = torch.tensor([[-127, 127]], dtype=torch.int8)
    found, _ = fold_gain(q, torch.ones(1), torch.tensor([-2.0], dtype=torch.float64), 0)
    assert found.tolist() == [[127, -127]]


def test_one_scale_in_all_takes_one_gain() -> None:
    q, scale = codes((4, 2, 2, 2)), torch.tensor(0.5)
    found, wide = fold_gain(q, scale, torch.tensor([-0.5], dtype=torch.float64), None)
    assert found.equal(-q)
    assert wide.equal(torch.tensor(0.25))


def test_a_scale_does_not_vanish_in_float32() -> None:
    q, scale = codes((1, 4)), torch.tensor([1e-38])
    found, wide = fold_gain(q, scale, torch.tensor([1e-7], dtype=torch.float64), 0)
    assert wide.equal(scale)
    assert not found.any()


def test_bias_is_folded_in_double_precision() -> None:
    gain, shift = torch.tensor([2.0, -1.0, 0.0]).double(), torch.tensor([0.5, 1.0, 3.0]).double()
    assert fold_bias(torch.tensor([1.0, 2.0, 5.0]), gain, shift).tolist() == [2.5, -1.0, 3.0]


def pairs_and_singles() -> QuantizedModel:
    whole = merged("repvgg")
    split = split_coarse_fine(whole, list(splittable(whole))[-1:])
    return quantized(split)


def pair_with_two_biases() -> QuantizedModel:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        ways = [w.plain_conv(x, 8, kernel, bias=True, name=f"k{kernel}") for kernel in (3, 1)]
        return w.relu(w.elementwise("Add", *ways))

    found = quantized(network(body))
    assert max(len(layer.parts) for layer in int8_layers(found)) == 2
    return found


@pytest.mark.parametrize(
    "make", [pairs_and_singles, pair_with_two_biases, lambda: quantized(merged("bifpan"))]
)
def test_affine_behind_every_layer_is_the_network_with_it_folded(make: object) -> None:
    model = make()  # type: ignore[operator]
    state = state_of(model)
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(images(merged("repvgg"), 1))
    assert {len(layer.parts) for layer in int8_layers(model)} <= {1, 2}
    for layer in state.layers:
        graph = state.model.graph.graph
        program = compile_slice(graph, ["images"], [layer.output])
        u = execute(program, {"images": x}, state.params)[layer.output]
        count = u.shape[1]
        gain = torch.randn(count, generator=generator).double()
        gain[::3] = 0.0
        gain = gain if layer.per_channel else gain[1:2]
        shift = torch.randn(count, generator=generator).double()
        before = {part.codes: state.params[part.codes] for part in layer.parts}
        found = {**state.params, **affine(state, layer, gain, shift)}
        y = execute(program, {"images": x}, found)[layer.output]
        wanted = gain[:, None, None] * u + shift[:, None, None]
        assert (y - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        for part in layer.parts:
            sign = torch.sign(gain).to(torch.int8)
            shape = [-1 if i == (part.axis or 0) else 1 for i in range(4)]
            assert found[part.codes].equal(before[part.codes] * sign.reshape(shape))
            assert (found[part.scale] > 0).all()


def test_a_pair_shares_gain_and_takes_the_shift_once() -> None:
    model = pairs_and_singles()
    pair = next(layer for layer in int8_layers(model) if len(layer.parts) == 2)
    behind = values_by_name(model.graph.graph)[pair.output].producer()
    assert behind is not None
    assert behind.op_type == "Add"
    state = state_of(model)
    channels = len(state.params[pair.parts[0].scale])
    gain = torch.full((channels,), -2.0, dtype=torch.float64)
    found = affine(state, pair, gain, torch.ones(channels))
    for part in pair.parts:
        assert found[part.codes].equal(-state.params[part.codes])
        assert found[part.scale].equal(2 * state.params[part.scale])
    first, second = (part.bias for part in pair.parts)
    assert first is not None
    assert found[first].equal(-2 * state.params[first] + 1)
    assert second is None or found[second].equal(-2 * state.params[second])


def test_what_was_folded_is_what_the_file_holds() -> None:
    model = quantized(merged("repvgg"))
    state = state_of(model)
    layer = state.layers[-1]
    count = len(state.params[layer.parts[0].scale])
    state.put(affine(state, layer, torch.full((count,), -1.0), torch.zeros(count)))
    before = {name: (q, s) for name, q, s in weights_of(model.graph)}
    for name, q, scale in weights_of(state.result().graph):
        sign = -1 if name == layer.parts[0].codes else 1
        np.testing.assert_array_equal(q, sign * before[name][0])
        np.testing.assert_array_equal(scale, before[name][1])
