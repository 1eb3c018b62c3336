import itertools
import math
import time
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detq.errors import CalibrationError, InputError
from detq.stats import CalibrationStats, Range, TensorStats, load_stats, merge, save_stats, tied


def seen(x: NDArray[np.float32]) -> TensorStats:
    per_channel = x.swapaxes(0, 1).reshape(x.shape[1], -1)
    return TensorStats(
        minimum=float(x.min()),
        maximum=float(x.max()),
        channel_minimum=per_channel.min(axis=1),
        channel_maximum=per_channel.max(axis=1),
        count=x.size,
        images=len(x),
    )


def plain(stats: TensorStats) -> list[Any]:
    values = (getattr(stats, field.name) for field in fields(stats))
    return [v.tolist() if isinstance(v, np.ndarray) else v for v in values]


def batches() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, 5, 4, 3)).astype(np.float32) for n in (1, 2, 3)]


def test_merged_parts_are_the_whole_in_any_order_and_grouping() -> None:
    whole = plain(seen(np.concatenate(batches())))
    for a, b, c in itertools.permutations(map(seen, batches())):
        assert plain(merge(merge(a, b), c)) == whole
        assert plain(merge(a, merge(b, c))) == whole


def test_merge_leaves_its_arguments() -> None:
    a, b, _ = map(seen, batches())
    before = plain(a), plain(b)
    merge(a, b)
    assert (plain(a), plain(b)) == before


def test_a_nan_is_not_lost() -> None:
    good, _, broken = batches()
    broken[0, 2, 0, 0] = np.nan
    for merged in (merge(seen(good), seen(broken)), merge(seen(broken), seen(good))):
        assert math.isnan(merged.minimum)
        assert math.isnan(merged.maximum)
        for ends in (merged.channel_minimum, merged.channel_maximum):
            assert np.isnan(ends).tolist() == [False, False, True, False, False]


def test_other_channels_are_our_fault() -> None:
    with pytest.raises(AssertionError, match="other channels"):
        merge(seen(np.zeros((1, 1, 2, 2), np.float32)), seen(batches()[0]))


def test_tied_tensors_are_as_if_they_were_one() -> None:
    a, b, c = map(seen, batches())
    both = tied([a, b, c])
    assert both.minimum == min(a.minimum, b.minimum, c.minimum)
    assert both.maximum == max(a.maximum, b.maximum, c.maximum)
    assert (both.count, both.images) == (a.count + b.count + c.count, c.images)


def test_a_nan_in_a_tied_tensor_is_not_lost() -> None:
    good, _, broken = batches()
    broken[0, 2, 0, 0] = np.nan
    assert math.isnan(tied([seen(good), seen(broken)]).maximum)


def stats_of(names: list[str]) -> CalibrationStats:
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal((2, len(n), 3, 3)) for n in sorted(names)}
    tensors = {n: seen(arrays[n].astype(np.float32)) for n in names}
    return CalibrationStats(tensors, images=("b.jpg", "größe.jpg", "a.jpg"))


@pytest.mark.parametrize("names", [[], ["x"], ["stem.conv", "a", "images", "größe"]])
def test_a_file_holds_everything(tmp_path: Path, names: list[str]) -> None:
    stats = stats_of(names)
    save_stats(stats, tmp_path / "stats.npz")
    back = load_stats(tmp_path / "stats.npz")
    assert back.images == stats.images
    assert list(back.tensors) == sorted(names)
    for name in names:
        assert plain(back.tensors[name]) == plain(stats.tensors[name])
        assert back.tensors[name].channel_minimum.dtype == np.float32


def test_a_statistic_without_channels_is_kept(tmp_path: Path) -> None:
    none = np.empty(0, np.float32)
    stats = CalibrationStats({"a": TensorStats(-1.0, 2.0, none, none, 7, 1)}, ())
    save_stats(stats, tmp_path / "stats.npz")
    assert plain(load_stats(tmp_path / "stats.npz").tensors["a"]) == [-1.0, 2.0, [], [], 7, 1]


def test_the_same_content_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_stats(stats_of(["x", "yy"]), tmp_path / "a.npz")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    save_stats(stats_of(["yy", "x"]), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_no_statistics_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stats\.npz: no such file"):
        load_stats(tmp_path / "stats.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 40])
def test_what_is_no_statistics(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stats.npz").write_bytes(content)
    with pytest.raises(InputError, match="is not a file of calibration statistics"):
        load_stats(tmp_path / "stats.npz")


def test_other_numpy_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "stats.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="is not a file of calibration statistics"):
        load_stats(tmp_path / "stats.npz")
    np.save(tmp_path / "stats.npy", np.zeros(3))
    with pytest.raises(InputError, match="is not a file of calibration statistics"):
        load_stats(tmp_path / "stats.npy")


def test_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    save_stats(stats_of(["x"]), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="is not a file of calibration statistics"):
        load_stats(path)


def test_a_range_may_be_a_point() -> None:
    assert Range(0.0, 0.0) == Range(0.0, 0.0)
    with pytest.raises(FrozenInstanceError):
        Range(0.0, 1.0).lowest = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("lowest", "highest", "message"),
    [
        (1.0, 0.0, "is empty"),
        (math.nan, 1.0, "not finite"),
        (0.0, math.nan, "not finite"),
        (-math.inf, 1.0, "not finite"),
        (0.0, math.inf, "not finite"),
    ],
)
def test_what_is_no_range(lowest: float, highest: float, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Range(lowest, highest)
