from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from detq.errors import InputError
from detq.graph.files import save_model
from detq.placement import place
from detq.target import PLAIN
from detq_deploy.lint import lint, lint_file
from detq_deploy.targets import target_named
from tests.detq_deploy.lint.sketch import Sketch

RTX = target_named("trt-rtx")


def crossings(model: ir.Model) -> list[tuple[str, bool]]:
    return [(b.tensor, b.to_int8) for b in lint(model, PLAIN).boundaries]


def test_a_float_file_is_told_how_to_become_int8(tmp_path: Path) -> None:
    s = Sketch()
    save_model(s.raw({"outputs": s.relu(s.images)}), tmp_path / "float.onnx")
    with pytest.raises(InputError, match=r"it is a float model \(quantize it: detq quantize"):
        lint_file(tmp_path / "float.onnx", PLAIN)


def test_errors_come_first_and_are_counted() -> None:
    s = Sketch()
    x = s.relu(s.pair(s.layer(s.pair(s.images, zero=3)), name="y"))
    found = lint(s.done(s.layer(s.pair(x, name="z"), "next")), PLAIN)
    assert [f.severity for f in found.findings] == ["error", "error", "warning"]
    assert found.errors == 2


def test_the_graph_is_left_alone() -> None:
    s = Sketch()
    model = s.done(s.layer(s.pair(s.images)))
    next(iter(model.graph)).name = None
    before = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    lint(model, PLAIN)
    assert ir.serde.serialize_model(model).SerializeToString(deterministic=True) == before


def test_a_chain_of_int8_layers_has_a_boundary_at_its_ends() -> None:
    s = Sketch()
    x = s.relu(s.layer(s.pair(s.images), "a"))
    x = s.relu(s.layer(s.pair(x, name="y"), "b"), "last")
    assert crossings(s.done(x)) == [("images", True), ("last", False)]


def test_a_float_island_has_two_boundaries_however_many_read_it() -> None:
    s = Sketch()
    x = s.relu(s.layer(s.pair(s.images), "a"), "before")
    x = s.layer(x, "island", quantized=False)
    y = s.pair(s.relu(x, "after"), name="y")
    model = s.raw({"one": s.layer(y, "b"), "two": s.layer(y, "c")})
    assert crossings(model) == [("images", True), ("before", False), ("after", True)]


def test_epilogues_and_copies_belong_to_their_layers() -> None:
    s = Sketch()
    a = s.layer(s.pair(s.images), "a")
    gate = s.elementwise("Sigmoid", a)
    silu = s.pair(s.elementwise("Mul", a, gate), name="silu")
    pooled = s.pool("MaxPool", silu, (3, 3), stride=(1, 1), padding=(1, 1))
    joined = s.concat([silu, s.pair(pooled, name="pooled")])
    x = s.layer(s.pair(joined, name="joined"), "b", inputs=32)
    x = s.elementwise("Add", x, silu)  # the skip side is rounded
    x = s.elementwise("Mul", x, s.constant("factor", np.full((1, 16, 1, 1), 2, np.float32)))
    assert crossings(s.raw({"outputs": s.layer(s.pair(x, name="z"), "c")})) == [("images", True)]


def test_layers_behind_copies_of_codes_are_predicted_int8() -> None:
    s = Sketch()
    x = s.pair(s.relu(s.layer(s.pair(s.images), "a")), name="y")
    x = s.pool("MaxPool", x, (3, 3), stride=(1, 1), padding=(1, 1))
    x = s.concat([x, x])
    model = s.done(s.layer(x, "b", inputs=32))
    assert lint(model, RTX).int8 == {"a": True, "b": True, "pred": False}


def test_transposed_layers_are_predicted_by_target() -> None:
    s = Sketch()
    model = s.done(s.layer(s.pair(s.images), "up", kind="ConvTranspose", axis=None, count=1))
    assert lint(model, RTX).int8["up"] is False
    assert lint(model, replace(RTX, transposed="per_tensor")).int8["up"] is True


def test_our_placement_and_lint_say_the_same() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from tests.steps import merged, quantized

    for name in ("bifpan", "residual", "lite", "tiny_detector"):
        model = merged(name)
        layers = {layer.node: layer.int8 for layer in place(model, PLAIN).layers}
        found = lint(quantized(model).graph, PLAIN)
        assert found.int8 == layers
        assert [f for f in found.findings if f.rule != "narrow"] == []
