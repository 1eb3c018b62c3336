from pathlib import Path

import numpy as np
import pytest

from detq.errors import CheckpointError, UnsupportedBlockError
from tests.pickles import call, dict_of, module, named, number, tensor, text, tuple_of, write_zip
from ultralytics_adapter import Checkpoint, read_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden"
NN = "ultralytics.nn"


def network(
    kind: str = f"{NN}.tasks.DetectionModel", number_of_layer: int = 0, **attributes: bytes
) -> bytes:
    """A network of nothing but a head, enough to be read."""
    about = {"i": number(number_of_layer), "f": number(-1), "nc": number(2),
             "stride": tuple_of(number(8), number(16))}  # fmt: skip
    head = module(f"{NN}.modules.head.Detect", attributes=about)
    layers = module("torch.nn.modules.container.Sequential", {"0": head})
    return module(kind, {"model": layers}, attributes=attributes)


def read(path: Path, content: bytes) -> Checkpoint:
    return read_checkpoint(write_zip(path / "x.pt", content))


def test_a_checkpoint_of_a_finished_training() -> None:
    checkpoint = read_checkpoint(GOLDEN / "ultralytics_v6_stripped.pt")
    assert checkpoint.family == "Ultralytics yolov6n"
    assert checkpoint.names == ("crane", "heron", "stork")
    assert checkpoint.strides == (8, 16, 32)
    assert len(checkpoint.layers) == 29
    weight = checkpoint.layers[0].child("conv").array("weight", 4)
    assert weight.dtype == np.float32
    assert checkpoint.layers[0].child("bn").number("eps") == 1e-3


def test_the_averaged_weights_of_a_training_under_way() -> None:
    # Its loss, an optimizer and the options of the training lie in the file too.
    checkpoint = read_checkpoint(GOLDEN / "ultralytics_v8_training.pt")
    assert checkpoint.family == "Ultralytics yolov8n"
    assert "criterion" in checkpoint.root.attributes


def test_names_are_never_guessed(tmp_path: Path) -> None:
    for names in (b"N", dict_of({"0": text("cat")}), tuple_of(text("cat"))):
        content = dict_of({"model": network(names=names)})
        assert read(tmp_path, content).names == ("class_0", "class_1")
    content = dict_of({"model": network(names=tuple_of(text("cat"), text("dog")))})
    assert read(tmp_path, content).names == ("cat", "dog")


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (b"N", "Ultralytics"),
        (dict_of({}), "Ultralytics"),
        (dict_of({"yaml_file": number(3)}), "Ultralytics"),
        (dict_of({"yaml_file": text("a\x1b[2J.yaml")}), "Ultralytics"),
        (dict_of({"yaml_file": text("/data/yolov6s.yaml")}), "Ultralytics yolov6s"),
        (dict_of({"yaml_file": text("my-net.yml")}), "Ultralytics my-net"),
    ],
)
def test_the_family_is_that_of_the_records(tmp_path: Path, config: bytes, family: str) -> None:
    assert read(tmp_path, dict_of({"model": network(yaml=config)})).family == family


@pytest.mark.parametrize("kind", ["tasks.SegmentationModel", "tasks.ClassificationModel"])
def test_only_detectors_are_read(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnsupportedBlockError, match=rf"{kind}: only a DetectionModel is read"):
        read(tmp_path, dict_of({"model": network(f"{NN}.{kind}")}))


def test_layers_must_be_numbered(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not numbered from 0"):
        read(tmp_path, dict_of({"model": network(number_of_layer=1)}))


@pytest.mark.parametrize("name", ["os.system", "yolov6.models.yolo.Model", "ultralyticsx.nn.Conv"])
def test_other_packages_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"refers to '{name}'"):
        read(tmp_path, dict_of({"model": named(name)}))


def test_a_class_that_is_called_makes_at_most_an_empty_object(tmp_path: Path) -> None:
    # This is how the options of a training are stored.
    options = call("ultralytics.utils.IterableSimpleNamespace") + dict_of({"imgsz": number(9)})
    assert read(tmp_path, dict_of({"model": network(args=options + b"b")})).strides == (8, 16)
    with pytest.raises(CheckpointError, match=r"calls ultralytics.utils.X, which is not a func"):
        read(tmp_path, dict_of({"model": call("ultralytics.utils.X", number(1))}))


def test_nan_is_refused_where_it_is(tmp_path: Path) -> None:
    layer = module("torch.nn.modules.conv.Conv2d", arrays={"weight": tensor("0", (1,))})
    layers = module("torch.nn.modules.container.Sequential", {"0": layer})
    content = dict_of({"model": module(f"{NN}.tasks.DetectionModel", {"model": layers})})
    path = write_zip(tmp_path / "x.pt", content, {"0": np.array([np.nan], np.float32)})
    with pytest.raises(CheckpointError, match=r"NaN or infinity in model.model.0.weight"):
        read_checkpoint(path)
