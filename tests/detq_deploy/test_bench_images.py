from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detq.errors import InputError
from detq_deploy.bench_images import batches, input_size
from detq_deploy.onnxruntime_run import OnnxRuntimeRunner


def save(path: Path, array: np.ndarray, key: str = "images") -> str:
    np.savez(path, **{key: array})
    return str(path)


def test_noise_is_the_same_for_all() -> None:
    first, second = batches(2, (4, 6), None), batches(2, (4, 6), None)
    assert {x.shape for x in first} == {(2, 3, 4, 6)}
    assert not np.array_equal(first[0], first[1])
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_given_images_in_batches_filled_from_the_beginning(tmp_path: Path) -> None:
    given = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 2, 2), np.float32)
    found = batches(2, (2, 2), save(tmp_path / "x.npz", given))
    assert [x[:, 0, 0, 0].tolist() for x in found] == [[0, 1], [2, 3], [4, 0]]


@pytest.mark.parametrize(
    ("array", "key", "message"),
    [
        (np.zeros((1, 3, 2, 4), np.float32), "images", "takes n x 3 x 2 x 2"),
        (np.zeros((0, 3, 2, 2), np.float32), "images", "takes n x 3 x 2 x 2"),
        (np.zeros((1, 3, 2, 2), np.uint8), "images", "store float32"),
        (np.zeros((1, 3, 2, 2), np.float32), "pictures", "with the array images"),
    ],
)
def test_images_that_do_not_fit(array: np.ndarray, key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        batches(1, (2, 2), save(tmp_path / "x.npz", array, key))


@pytest.mark.parametrize("content", [None, b"text", b"PK\x03\x04"])
def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="holds no prepared images"):
        batches(1, (2, 2), str(path))


def test_one_array_alone_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((1, 3, 2, 2), np.float32))
    with pytest.raises(InputError, match="holds no prepared images"):
        batches(1, (2, 2), str(path))


def test_size_of_the_file(write_chain: Callable[..., Path]) -> None:
    path = write_chain()
    with OnnxRuntimeRunner(path, threads=1) as run:
        assert input_size(path, run) == (16, 16)


def test_a_file_of_any_size_has_to_be_told(write_chain: Callable[..., Path]) -> None:
    path = write_chain(height="H")
    with OnnxRuntimeRunner(path, threads=1) as run, pytest.raises(InputError, match="any size"):
        input_size(path, run)
