import os
import stat
from pathlib import Path

import pytest

from detq.errors import InputError
from detq.whole_file import require_apart, require_writable, written_whole


def write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text)


def test_a_link_stays_one_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "real.txt", tmp_path / "link.txt"
    for text in ("new", "newer"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)  # at first to nothing
        write(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["real.txt"]


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        before = os.stat(path)
        with pytest.raises(InputError, match=f"{path}: is no plain file .give the name of a file"):
            write(path, "x")
        assert stat.S_IFMT(os.stat(path).st_mode) == stat.S_IFMT(before.st_mode)
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        write(tmp_path, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "deep" / "down" / "a")
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "b", "old")
    require_writable(tmp_path / "b")
    assert (tmp_path / "b").read_text() == "old"
    for path in (tmp_path / "b" / "x" / "c", tmp_path, Path("/proc/nope/x.json")):
        with pytest.raises(InputError, match=f"{path}: cannot be written: "):
            require_writable(path)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_is_read_is_told_from_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a"
    (tmp_path / "link").symlink_to(file)
    for same in (file, tmp_path / "x" / ".." / "a", tmp_path / "link"):
        for one, other in ((file, same), (same, file)):
            with pytest.raises(InputError, match=f"^{one}: would overwrite what is read"):
                require_apart(one, None, tmp_path / "b", other)
    require_apart(file, None, tmp_path / "b", tmp_path)
