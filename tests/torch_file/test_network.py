from pathlib import Path

import numpy as np
import pytest

from detq.errors import CheckpointError
from detq.torch_file.inert import PickleError
from detq.torch_file.module import Module
from detq.torch_file.network import (
    class_count,
    key_of_network,
    names_of,
    numbered,
    package_of,
    read_network,
    strides_of,
)
from detq.torch_file.unpickle import TorchFile, read_torch_file
from tests.pickles import dict_of, module, tensor, write_zip

KNOWN = ("one", "two")


def read(path: Path, content: bytes) -> TorchFile:
    weights = {"0": np.ones(2, np.float32), "1": np.zeros(2, np.float32)}
    return read_torch_file(write_zip(path / "x.pt", content, weights), KNOWN)


def net(kind: str, key: str = "0") -> bytes:
    return module(kind, arrays={"weight": tensor(key, (2,))})


def with_attributes(**attributes: object) -> Module:
    return Module("one.Head", "head", attributes, {}, {})


def test_the_averaged_weights_are_taken_where_there_are_some(tmp_path: Path) -> None:
    file = read(tmp_path, dict_of({"model": net("one.Net"), "ema": net("one.Net", "1")}))
    assert key_of_network(file) == "ema"
    np.testing.assert_array_equal(read_network(file).array("weight", 1), [0, 0])
    file = read(tmp_path, dict_of({"model": net("one.Net"), "ema": b"N"}))
    assert key_of_network(file) == "model"
    np.testing.assert_array_equal(read_network(file).array("weight", 1), [1, 1])


@pytest.mark.parametrize("content", [b"]", b"}", b"N", dict_of({"model": dict_of({})})])
def test_weights_alone_do_not_do(tmp_path: Path, content: bytes) -> None:
    file = read(tmp_path, content)
    with pytest.raises(PickleError, match="holds no whole model"):
        key_of_network(file)
    with pytest.raises(CheckpointError, match=r"x\.pt: holds no whole model"):
        package_of(file, KNOWN)


def test_a_network_is_known_by_the_package_of_its_class(tmp_path: Path) -> None:
    for package in KNOWN:
        file = read(tmp_path, dict_of({"model": net(f"{package}.models.Net")}))
        assert package_of(file, KNOWN) == package
    file = read(tmp_path, dict_of({"model": net("torch.nn.modules.conv.Conv2d")}))
    with pytest.raises(CheckpointError, match=r"holds a torch\.nn.*Conv2d, which is no known"):
        package_of(file, KNOWN)


@pytest.mark.parametrize("kind", ["three.Net", "oneself.Net", "one", "torch.serialization.load"])
def test_only_the_packages_asked_for_may_be_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError, match="refers to "):
        read(tmp_path, dict_of({"model": net(kind)}))


def test_a_package_is_a_name_and_no_pattern(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", dict_of({"model": net("onX.Net")}))
    with pytest.raises(CheckpointError, match=r"refers to 'onX\.Net'"):
        read_torch_file(path, ["on."])


@pytest.mark.parametrize("count", [0, 10_001, True, None, "3"])
def test_a_number_of_classes_that_makes_no_sense(count: object) -> None:
    with pytest.raises(CheckpointError, match=r"^head: nc is"):
        class_count(with_attributes(nc=count))


def test_names_are_one_text_per_class() -> None:
    for names in (["a", "b"], ("a", "b"), {1: "b", 0: "a"}):
        assert names_of(with_attributes(names=names), 2) == ("a", "b")
    for wrong in (None, "ab", ["a"], {0: "a", 2: "b"}, ["a", 1], {0: "a", 1: None}):
        assert names_of(with_attributes(names=wrong), 2) is None
    assert numbered(2) == ("class_0", "class_1")


def test_strides_rise_by_powers_of_two() -> None:
    for stride in (np.array([8.0, 16.0]), [8, 16], (8.0, 16.0)):
        assert strides_of(with_attributes(stride=stride)) == (8, 16)
    for wrong in (None, 8, [], [16, 8], [8, 8], [8, 12], ["8"], np.ones((2, 2)), [[8]]):
        with pytest.raises(CheckpointError, match=r"^head: stride is not a"):
            strides_of(with_attributes(stride=wrong))
