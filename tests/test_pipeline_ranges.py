"""The steps around ranges, through the whole pipeline on a tiny model."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="calibrating runs the network in torch")

from detq.errors import InputError
from detq.graph.files import load_model
from detq.quantized import weights_of
from detq.recipe import ChannelWise, CoarseFine, Mse, Recipe, RepQuant, Weights
from tests.test_pipeline import (  # noqa: F401 - fixtures
    Around,
    around,
    pictures,
    recipe,
    redone,
)

# A fixture is asked for by its name.
# ruff: noqa: F811


def plain(recipe: Recipe, **changes: object) -> Recipe:
    return msgspec.structs.replace(
        recipe, targets=("plain",), evaluation=None, bench=None, **changes
    )


def layers(folder: Path) -> list[str]:
    graph = load_model(folder / "model.plain.onnx").graph
    return [str(node.name) for node in graph if node.op_type == "Conv"]


@pytest.mark.parametrize("choose", ["all", "surround", "measured"])
def test_kernels_are_split_and_told(around: Around, recipe: Recipe, choose: str) -> None:
    options = CoarseFine(choose=choose, least_gain_db=-99, images=1)  # type: ignore[arg-type]
    outcome = around(plain(recipe, coarse_fine=options, weights=Weights(bits=6)))
    assert "coarse_fine.6bit" in redone(outcome)
    told = outcome.figures["coarse_fine"]["plain"]
    coarse = [name for name in layers(around.folder) if name.endswith(".coarse")]
    assert len(coarse) == told["split"] > 0
    assert 0 < told["extra_macs_share"] < 1 / 9
    record = msgspec.json.decode((around.folder / told["file"]).read_bytes())
    assert record["choose"] == choose
    assert [k["layer"] + ".coarse" for k in record["kernels"] if k["split"]] == coarse
    assert all((k["output_snr_db"] is not None) == (choose == "measured") for k in record["kernels"]
               if k["split"])  # fmt: skip
    codes = {
        name: array for name, array, _ in weights_of(load_model(around.folder / "model.plain.onnx"))
    }
    assert max(int(np.abs(array).max()) for array in codes.values()) == 31


def test_a_split_goes_with_even_channels_and_costs_no_statistics(
    around: Around,
    recipe: Recipe,
) -> None:
    whole = plain(recipe)
    around(whole)
    split = around(msgspec.structs.replace(whole, coarse_fine=CoarseFine(least_gain_db=-99)))
    assert redone(split) == ["coarse_fine.8bit", "quantize.plain", "layers"]
    assert not any(".even" in name for name in layers(around.folder))


def test_channels_are_measured_and_told(around: Around, recipe: Recipe) -> None:
    around(plain(recipe, channel_wise=ChannelWise(range="mse", images=2), range=Mse()))
    told = msgspec.json.decode((around.folder / "channel_wise.json").read_bytes())
    assert any(group["changed"] for group in told["groups"])
    for group in told["groups"]:
        worth = group["gain_db"] > (1.0 if group["multiplies"] else 0.0)
        assert group["changed"] == worth or abs(group["gain_db"]) < 0.01


def test_a_network_without_transformer_blocks_has_nothing_to_reparameterize(
    around: Around,
    recipe: Recipe,
) -> None:
    outcome = around(plain(recipe, repquant=RepQuant()))
    assert "layer_norm" in redone(outcome)


def test_a_killed_calibration_is_not_taken_up_with_other_choices(
    around: Around,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import detq.observe as module

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "collect", killed)
        with pytest.raises(KeyboardInterrupt):
            around(plain(recipe))
    other = msgspec.structs.replace(recipe.calibration, seed=5, shrink=1)
    with pytest.raises(InputError, match=r"seed was 0, is 5; shrink was 0, is 1"):
        around(plain(recipe, calibration=other))
    around(plain(recipe))
