from collections.abc import Iterator

import pytest
from syrupy.assertion import SnapshotAssertion

from detq.placement import place
from detq.plan import Placement, placement_as_json, placement_from_json
from detq.target import PLAIN, Target
from detq.transforms import DEFAULT, transform
from tests.zoo import ZOO

pytest.importorskip("torch", reason="merging is checked in torch")

UNSIGNED = Target("cpu", unsigned_activations=True)


def placed(name: str, target: Target) -> Placement:
    return place(transform(ZOO[name](), DEFAULT), target)


def lines(placement: Placement) -> Iterator[str]:
    for point in placement.points:
        sign = "s8" if point.grid.signed else "u8"
        readers = ", ".join(point.consumers)
        group = "" if point.group == point.value else f" = {point.group}"
        yield f"{sign} {point.value}{group} -> {readers} | {point.rule}"
    for layer in placement.layers:
        scales = "one scale" if layer.axis is None else f"axis {layer.axis}"
        yield f"{f'INT8, {scales}' if layer.int8 else 'float'}: {layer.node} | {layer.reason}"


@pytest.mark.parametrize("name", ZOO)
def test_where_the_network_is_rounded(name: str, snapshot: SnapshotAssertion) -> None:
    assert list(lines(placed(name, PLAIN))) == snapshot


@pytest.mark.parametrize("name", ZOO)
def test_positions_and_groups_are_the_same_for_every_target(name: str) -> None:
    plain, unsigned = placed(name, PLAIN), placed(name, UNSIGNED)
    assert plain.layers == unsigned.layers
    for one, other in zip(plain.points, unsigned.points, strict=True):
        assert (one.value, one.consumers, one.group) == (other.value, other.consumers, other.group)
        assert one.grid.signed


def test_which_tensors_are_unsigned_where_the_target_can(snapshot: SnapshotAssertion) -> None:
    points = placed("tiny_detector", UNSIGNED).points
    assert {point.value: point.grid.signed for point in points} == snapshot


@pytest.mark.parametrize("name", ZOO)
def test_placement_survives_json(name: str) -> None:
    placement = placed(name, UNSIGNED)
    text = placement_as_json(placement)
    assert placement_from_json(text) == placement
    assert placement_as_json(placed(name, UNSIGNED)) == text
