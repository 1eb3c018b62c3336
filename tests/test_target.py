from dataclasses import replace

from detq.numerics import WEIGHTS_7_BIT, Grid
from detq.placement import place
from detq.target import PLAIN, Target, with_grids
from tests.zoo import ZOO


def test_a_target_keeps_its_grids_without_other_wishes() -> None:
    for target in (PLAIN, Target("cpu", unsigned_activations=True, weights=WEIGHTS_7_BIT)):
        same = with_grids(target, weight_bits=8, activation_bits=8, per_tensor_weights=False)
        assert same == target


def test_grids_get_coarser_and_never_finer() -> None:
    narrow = Target("cpu", weights=WEIGHTS_7_BIT)
    found = with_grids(narrow, weight_bits=4, activation_bits=6, per_tensor_weights=True)
    assert found == replace(
        narrow, weights=Grid(4, narrow=True), activation_bits=6, per_tensor_weights=True
    )
    found = with_grids(found, weight_bits=8, activation_bits=8, per_tensor_weights=False)
    assert (found.weights.bits, found.activation_bits) == (4, 6)


def test_a_placement_carries_the_grids() -> None:
    model = ZOO["tiny_detector"]()
    target = Target("t", unsigned_activations=True, activation_bits=6, per_tensor_weights=True)
    placement = place(model, target)
    assert {layer.axis for layer in placement.layers} == {None}
    assert {point.grid for point in placement.points} == {Grid(6), Grid(6, signed=False)}
    usual = place(model, PLAIN)
    assert {layer.axis for layer in usual.layers} == {0, None}
    assert {point.grid for point in usual.points} == {Grid()}
