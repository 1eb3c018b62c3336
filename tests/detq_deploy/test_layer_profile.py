from collections.abc import Callable
from pathlib import Path

import pytest

from detq.errors import InputError, TargetError
from detq_deploy.layer_profile import (
    LayerCost,
    ModelProfile,
    layer_costs,
    model_profile,
    profile_layers,
    read_profile,
    write_profile,
)
from detq_deploy.layer_times import PROFILERS, KernelTime, kernel_times, layers_with_weights

ENGINES = sorted(set(PROFILERS) - {"tensorrt"})


@pytest.mark.parametrize("engine", ENGINES)
def test_every_layer_in_float_and_in_int8(
    engine: str, float_file: Path, qdq_file: Path, tmp_path: Path
) -> None:
    done: list[int] = []
    found = profile_layers([float_file, qdq_file], engine, threads=1, runs=3, on_model=done.append)
    assert done == [1, 2]
    assert (found.backend, found.threads, found.batch, found.size) == (engine, 1, 1, (16, 16))
    assert list(found.layers) == ["first.conv", "second.conv"]
    for cost in found.layers.values():
        assert cost.float_ms is not None and cost.float_ms > 0
        assert cost.int8_ms is not None and cost.int8_ms > 0
    for model, path in zip(found.models, (float_file, qdq_file), strict=True):
        assert (model.path, model.runs) == (str(path), 3)
        parts = [x.ms for x in (*model.layers, *model.others)]
        assert model.total_ms == pytest.approx(sum(parts), rel=1e-9)
    assert [layer.int8 for model in found.models for layer in model.layers] == [
        False, False, True, True,
    ]  # fmt: skip
    file = tmp_path / "profile.json"
    write_profile(found, file)
    assert read_profile(file) == found


def test_times_are_per_image_and_kernels_are_shared_out() -> None:
    kernels = [
        KernelTime("a + b", "Conv", ("a", "b"), True, 4.0),
        KernelTime("a again", "Conv", ("a",), False, 2.0),
        KernelTime("reorder", "Reorder", (), False, 1.0),
    ]
    found = model_profile(Path("m"), kernels, runs=5, batch=2)
    assert found.total_ms == 3.5
    assert [(x.name, x.ms, x.int8, x.kernels) for x in found.layers] == [
        ("a", 2.0, True, ("a + b", "a again")),
        ("b", 1.0, True, ("a + b",)),
    ]
    assert [(x.name, x.kind, x.ms) for x in found.others] == [("reorder", "Reorder", 0.5)]


def test_costs_are_of_the_first_file_of_each_kind() -> None:
    def model(ms: float, *, int8: bool) -> ModelProfile:
        return model_profile(Path("m"), [KernelTime("k", "Conv", ("a",), int8, ms)], 1, 1)

    models = [model(3, int8=False), model(2, int8=True), model(9, int8=False), model(8, int8=True)]
    assert layer_costs(models) == {"a": LayerCost(float_ms=3, int8_ms=2)}
    assert layer_costs(models[:1]) == {"a": LayerCost(float_ms=3, int8_ms=None)}


def test_an_activation_stands_for_the_layer_in_front_of_it(float_file: Path) -> None:
    found = layers_with_weights(float_file)
    assert found["first.conv"] == "first.conv"
    behind = {name for name, layer in found.items() if layer == "first.conv"}
    assert {"first.conv", "first.relu"} <= behind
    assert "second.conv" not in behind


def test_files_of_two_sizes(float_file: Path, write_chain: Callable[..., Path]) -> None:
    other = write_chain(height=24)
    with pytest.raises(InputError, match="another batch or size than the first") as caught:
        profile_layers([float_file, other], "onnxruntime", threads=1, runs=1)
    assert caught.value.where == str(other)


def test_a_backend_that_does_not_tell(float_file: Path) -> None:
    with pytest.raises(TargetError, match="'torch' does not tell the time of a layer"):
        kernel_times("torch", float_file, None, runs=1, threads=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}', "[]"])
def test_no_profile(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"is no profile of layers.*detq bench FLOAT INT8"):
        read_profile(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(tmp_path / "none.json")
