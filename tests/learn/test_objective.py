from types import SimpleNamespace

import pytest
import torch

from detq.learn import LEARNERS, reconstruct
from detq.learn.objective import DISTANCES, Objective, class_logits
from detq.learn.store import Store
from detq.learn.units import Unit, head_values
from detq.recipe import Abc
from tests.learn.tasks import task
from tests.zoo import tiny_detector

ALL = slice(0, 2)


def objective(block: float, stage: float, *, confidence: bool = False) -> Objective:
    store = Store(2, 10**6)
    store.hold("out", torch.ones(2, 1, 1, 2))
    store.hold("end", torch.tensor([[[[2.0, 4.0]]]] * 2))
    store.hold("logits", torch.tensor([[[[20.0, -20.0]], [[-20.0, -20.0]]]] * 2))
    return Objective(
        Unit("unit", "stage", ("out",), ("end",), 0.5),
        DISTANCES["mae"],
        block,
        stage,
        {"out": 1.0, "end": 3.0},
        {"end": "logits"} if confidence else {},
        SimpleNamespace(store=store),  # type: ignore[arg-type]
    )


MADE, ENDS = {"out": torch.full((2, 1, 1, 2), 1.5)}, {"end": torch.tensor([[[[2.0, 1.0]]]] * 2)}


@pytest.mark.parametrize(("block", "stage", "loss"), [(1, 0, 0.5), (0, 1, 0.5), (1, 0.5, 0.75)])
def test_terms_are_weighed_and_normalised(block: float, stage: float, loss: float) -> None:
    # The block is off by 0.5 of 1, the end by 0 and 3 of a mean of 3.
    assert float(objective(block, stage)(ALL, MADE, ENDS)) == pytest.approx(loss, abs=1e-6)


def test_places_count_by_what_the_float_network_sees_there() -> None:
    # The end is right where an object is, and wrong where none is.
    assert float(objective(0, 1, confidence=True)(ALL, MADE, ENDS)) == pytest.approx(0, abs=1e-6)
    off = {"end": torch.tensor([[[[5.0, 4.0]]]] * 2)}
    assert float(objective(0, 1, confidence=True)(ALL, MADE, off)) == pytest.approx(1, abs=1e-6)


def test_every_head_output_knows_the_logits_of_its_level() -> None:
    graph = tiny_detector().graph.graph
    found = class_logits(graph, head_values(graph))
    assert found == {
        f"detect.{kind}_preds.{level}": f"detect.cls_preds.{level}"
        for kind in ("cls", "reg")
        for level in range(3)
    }


def test_confidence_reaches_the_blocks_of_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Objective] = {}
    make = reconstruct.objective_for

    def spy(unit: Unit, *given: object, **options: object) -> Objective:
        seen[unit.name] = make(unit, *given, **options)  # type: ignore[arg-type]
        return seen[unit.name]

    monkeypatch.setattr(reconstruct, "objective_for", spy)
    LEARNERS["abc"](task("tiny_detector", count=2), Abc(steps=1, batch=2, confidence=True))
    assert seen["detect.reg_convs.1"].confidence == {"detect.reg_preds.1": "detect.cls_preds.1"}
    assert seen["backbone.stem"].confidence == {}
    depths = [seen[f"detect.{kind}.2"].stage for kind in ("stems", "reg_convs", "cls_convs")]
    assert depths == [7 / 9, 8 / 9, 1]
