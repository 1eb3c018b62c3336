import itertools
import math
import time
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detq.errors import CalibrationError, InputError
from detq.histogram import BINS, count_values
from detq.stats import (
    CalibrationStats,
    Range,
    TensorStats,
    load_stats,
    merge,
    save_stats,
    side_by_side,
    stats_of,
    tied,
)


def plain(record: Any) -> list[Any]:
    values = (getattr(record, field.name) for field in fields(record))
    return [
        v.tolist() if isinstance(v, np.ndarray) else plain(v) if is_dataclass(v) else v
        for v in values
    ]


def batches() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, 5, 4, 3)).astype(np.float32) for n in (1, 2, 3)]


def test_merged_parts_are_the_whole_in_any_order_and_grouping() -> None:
    whole = plain(stats_of(np.concatenate(batches())))
    for a, b, c in itertools.permutations(map(stats_of, batches())):
        assert plain(merge(merge(a, b), c)) == whole
        assert plain(merge(a, merge(b, c))) == whole


def test_merge_leaves_its_arguments() -> None:
    a, b, _ = map(stats_of, batches())
    before = plain(a), plain(b)
    merge(a, b)
    assert (plain(a), plain(b)) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(value: float) -> None:
    broken = batches()[0]
    broken[0, 2, 0, 0] = value
    with pytest.raises(CalibrationError, match=r"neck\.conv: values are not finite"):
        stats_of(broken, "neck.conv")


def test_what_is_counted_is_what_was_given() -> None:
    x = batches()[2]
    x[0, :, 0, 0] = 0
    found = stats_of(x)
    assert (found.minimum, found.maximum) == (float(x.min()), float(x.max()))
    np.testing.assert_array_equal(found.channel_minimum, x.min(axis=(0, 2, 3)))
    np.testing.assert_array_equal(found.channel_maximum, x.max(axis=(0, 2, 3)))
    assert (found.count, found.images) == (x.size, len(x))
    edges = np.arange(BINS + 1) * found.histogram.width
    np.testing.assert_array_equal(found.histogram.positive, np.histogram(x[x > 0], edges)[0])
    np.testing.assert_array_equal(found.histogram.negative, np.histogram(-x[x < 0], edges)[0])
    assert found.histogram.zeros == int((x == 0).sum())


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 7), (3, 1, 1, 1), (2, 40, 97, 53), (1, 5000, 3)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_form_and_the_layout_play_no_part(shape: tuple[int, ...], channels_last: bool) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    given = x
    if channels_last:
        given = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    given.flags.writeable = False
    found = stats_of(given)
    others = tuple(i for i in range(x.ndim) if i != 1)
    np.testing.assert_array_equal(found.channel_minimum, x.min(axis=others), strict=True)
    np.testing.assert_array_equal(found.channel_maximum, x.max(axis=others), strict=True)
    whole = plain(count_values(x, float(x.min()), float(x.max())))
    assert plain(found.histogram) == whole
    assert (found.count, found.images) == (x.size, len(x))


@pytest.mark.parametrize("place", [0, 1, 1364, 1365, 1366])
def test_no_place_is_passed_over(place: int) -> None:
    x = np.zeros((1, 3, 1367), np.float32)  # rows of three, the last two do not fill a long one
    x[0, :, place] = 5, -5, 7
    found = stats_of(x)
    assert found.channel_maximum.tolist() == [5, 0, 7]
    assert found.channel_minimum.tolist() == [0, -5, 0]


def test_a_tensor_may_be_larger_than_what_is_counted_at_once() -> None:
    found = stats_of(np.ones((1, 1, 4097, 4096), np.float32))
    assert found.histogram.count == found.count == 4097 * 4096


def test_other_channels_are_our_fault() -> None:
    with pytest.raises(AssertionError, match="other channels"):
        merge(stats_of(np.zeros((1, 1, 2, 2), np.float32)), stats_of(batches()[0]))


def test_tied_tensors_are_as_if_they_were_one() -> None:
    a, b, c = map(stats_of, batches())
    both = tied([a, b, c])
    assert both.minimum == min(a.minimum, b.minimum, c.minimum)
    assert both.maximum == max(a.maximum, b.maximum, c.maximum)
    assert (both.count, both.images) == (a.count + b.count + c.count, c.images)
    assert plain(both.histogram) == plain(merge(merge(_flat(a), _flat(b)), _flat(c)).histogram)
    assert both.channel_minimum.size == both.channel_maximum.size == 0


def _flat(stats: TensorStats) -> TensorStats:
    nothing = np.empty(0, np.float32)
    return replace(stats, channel_minimum=nothing, channel_maximum=nothing)


def test_tensors_side_by_side_are_their_concatenation() -> None:
    rng = np.random.default_rng(2)
    parts = [(rng.standard_normal((3, n, 4, 5)) * n).astype(np.float32) for n in (2, 7, 1)]
    found = side_by_side([stats_of(part) for part in parts])
    assert plain(found) == plain(stats_of(np.concatenate(parts, axis=1)))


def calibration(names: list[str]) -> CalibrationStats:
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal((2, len(n), 3, 3)) for n in sorted(names)}
    tensors = {n: stats_of(arrays[n].astype(np.float32)) for n in names}
    return CalibrationStats(tensors, images=("b.jpg", "größe.jpg", "a.jpg"))


@pytest.mark.parametrize("names", [[], ["x"], ["stem.conv", "a", "images", "größe"]])
def test_a_file_holds_everything(tmp_path: Path, names: list[str]) -> None:
    stats = calibration(names)
    save_stats(stats, tmp_path / "stats.npz")
    back = load_stats(tmp_path / "stats.npz")
    assert back.images == stats.images
    assert list(back.tensors) == sorted(names)
    for name in names:
        assert plain(back.tensors[name]) == plain(stats.tensors[name])
        assert back.tensors[name].channel_minimum.dtype == np.float32


def test_the_same_content_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_stats(calibration(["x", "yy"]), tmp_path / "a.npz")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    save_stats(calibration(["yy", "x"]), tmp_path / "b.npz")
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


def test_a_file_from_before_there_were_histograms(tmp_path: Path) -> None:
    save_stats(calibration(["x"]), tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as archive:
        columns = {name: archive[name] for name in archive.files}
    old = ("names", "minimum", "maximum", "count", "seen", "channels", "channel_minimum",
           "channel_maximum", "images")  # fmt: skip
    np.savez(tmp_path / "stats.npz", **{name: columns[name] for name in old})
    with pytest.raises(InputError) as caught:
        load_stats(tmp_path / "stats.npz")
    assert "it holds no histograms, an earlier detq wrote it" in str(caught.value)
    assert "(calibrate again to write it)" in str(caught.value)


def test_the_size_of_a_file_is_that_of_the_bins(tmp_path: Path) -> None:
    for count in (1, 50):
        x = np.random.default_rng(0).standard_normal((count, 2, 40, 40)).astype(np.float32)
        save_stats(CalibrationStats({"x": stats_of(x)}, ()), tmp_path / "stats.npz")
        assert (tmp_path / "stats.npz").stat().st_size < 2 * 8 * BINS + 5000


def test_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    save_stats(calibration(["x"]), path)
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
