from pathlib import Path

import numpy as np
import pytest

from detq.errors import CheckpointError
from tests.pickles import dict_of, module, number, tensor, text, tuple_of, write_zip
from yolov6_adapter import Checkpoint, read_checkpoint
from yolov6_adapter.coco_names import COCO_NAMES

NN = "torch.nn.modules"


def read(data: Path, name: str) -> Checkpoint:
    return read_checkpoint(data / "fixtures" / f"{name}.pt")


def smallest(classes: int, **attributes: bytes) -> bytes:
    """A network of a stem and a head's class count, enough to be read."""
    conv = module(f"{NN}.conv.Conv2d", arrays={"weight": tensor("0", (16, 3, 1, 1))})
    reduce = module("yolov6.layers.common.ConvBNReLU", {"conv": conv})
    other = module(f"{NN}.conv.Conv2d", arrays={"weight": tensor("0", (16, 3, 1, 1))})
    head = module(
        "yolov6.models.effidehead.Detect",
        attributes={
            "nc": number(classes),
            "stride": tuple_of(number(8), number(16), number(32)),
        },
    )
    backbone = module("yolov6.models.efficientrep.EfficientRep", {"stem": other})
    neck = module("yolov6.models.reppan.RepBiFPANNeck", {"reduce_layer0": reduce})
    parts = {"backbone": backbone, "neck": neck, "detect": head}
    return dict_of({"model": module("yolov6.models.yolo.Model", parts, None, attributes)})


def read_smallest(path: Path, classes: int, **attributes: bytes) -> Checkpoint:
    weights = {"0": np.ones((16, 3, 1, 1), np.float32)}
    return read_checkpoint(write_zip(path / "small.pt", smallest(classes, **attributes), weights))


def test_the_averaged_weights_are_taken_where_there_are_some(data: Path) -> None:
    assert read(data, "v1_n_train").key == "ema"
    assert read(data, "v4_n_fused").key == "model"


def test_what_the_training_left_is_read(data: Path) -> None:
    checkpoint = read(data, "v4_n_fuseab_train")
    assert (checkpoint.epoch, checkpoint.results) == (7, (0.3, 0.26))
    assert checkpoint.sha256.startswith("c6d2ac7f3dd0a585")
    assert read(data, "v4_n_finetune_80").results == (0.37, 0.21000000000000002)  # of numpy 2
    assert read(data, "v4_n_fused").epoch is None


def test_weights_are_float32_whatever_the_file_holds(data: Path) -> None:
    for name in ("v4_n_fused", "v2_s_f32", "v4_l6_legacy"):
        head = read(data, name).root.child("detect")
        assert head.child("cls_preds").child("0").array("weight", 4).dtype == np.float32


def test_the_name_of_the_file_says_nothing(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "yolov6l6.pt"
    path.write_bytes((data / "person" / "person_yolov6n_ckpt.pt").read_bytes())
    checkpoint = read_checkpoint(path)
    assert (checkpoint.family, checkpoint.variant) == ("YOLOv6", "N")


def test_names_are_those_of_the_model(tmp_path: Path) -> None:
    names = tuple_of(text("cat"), text("dog"))
    assert read_smallest(tmp_path, 2, names=names).names == ("cat", "dog")


def test_80_classes_without_names_are_those_of_coco(tmp_path: Path) -> None:
    names = read_smallest(tmp_path, 80).names
    assert names == COCO_NAMES
    assert (names[0], names[15], names[79]) == ("person", "cat", "toothbrush")


@pytest.mark.parametrize("names", [b"N", tuple_of(text("cat")), tuple_of(number(1), number(2))])
def test_names_are_never_guessed(tmp_path: Path, names: bytes) -> None:
    assert read_smallest(tmp_path, 2, names=names).names == ("class_0", "class_1")


@pytest.mark.parametrize("kind", ["Half", "Float", "Double", "BFloat16"])
def test_every_number_type_becomes_float32(tmp_path: Path, kind: str) -> None:
    stored = {
        "Half": np.array([1.5, -2.0], np.float16),
        "Float": np.array([1.5, -2.0], np.float32),
        "Double": np.array([1.5, -2.0], np.float64),
        "BFloat16": np.array([0x3FC0, 0xC000], np.uint16),
    }[kind]
    extra = module(f"{NN}.conv.Conv2d", arrays={"weight": tensor("1", (2,), kind=kind)})
    pickled = smallest(1).replace(text("stem"), text("extra") + extra + text("stem"), 1)
    weights = {"0": np.ones((16, 3, 1, 1), np.float32), "1": stored}
    checkpoint = read_checkpoint(write_zip(tmp_path / "x.pt", pickled, weights))
    array = checkpoint.root.child("backbone").child("extra").array("weight", 1)
    np.testing.assert_array_equal(array, np.array([1.5, -2.0], np.float32))


def test_a_view_with_strides_and_offset_is_followed(tmp_path: Path) -> None:
    view = tensor("1", (2, 3), count=10, stride=(1, 2), offset=3)
    extra = module(f"{NN}.conv.Conv2d", arrays={"weight": view})
    pickled = smallest(1).replace(text("stem"), text("extra") + extra + text("stem"), 1)
    numbers = np.arange(10, dtype=np.float32)
    weights = {"0": np.ones((16, 3, 1, 1), np.float32), "1": numbers}
    checkpoint = read_checkpoint(write_zip(tmp_path / "x.pt", pickled, weights))
    array = checkpoint.root.child("backbone").child("extra").array("weight", 2)
    np.testing.assert_array_equal(array, [[3, 5, 7], [4, 6, 8]])


@pytest.mark.parametrize("content", [b"]", b"}", dict_of({"model": dict_of({"a": number(1)})})])
def test_weights_without_a_model_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match="holds no whole model under ema or model"):
        read_checkpoint(write_zip(tmp_path / "x.pt", content))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_checkpoint(path)
