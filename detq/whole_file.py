"""Files that are either whole or not there, and what the system says told in one line."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detq.errors import InputError

PARTIAL = ".part-"  # begins the name of a file that is being written
_UNWRITABLE, _CHOOSE = "cannot be written", "choose a folder that is writable and has room"
_OTHER_NAME = "give what is written another name"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` only if nothing was raised.

    Its name ends as that of ``path`` does, for writers that go by the suffix. A link stays one:
    the file that it leads to is written.

    Raises:
        InputError: the folder cannot be made or written, or is full, or what is there is no file.
    """
    temporary: Path | None = None
    try:
        with told(path, _UNWRITABLE, _CHOOSE):
            final = _behind_links(path)
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary = _new_file(final.parent, path.name)
            yield temporary
            temporary.replace(final)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Told before the work rather than after it; nothing is left behind.

    Raises:
        InputError: as of ``written_whole``.
    """
    with told(path, _UNWRITABLE, _CHOOSE):
        final = _behind_links(path)
        missing = [folder for folder in final.parents if not folder.exists()]
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _new_file(final.parent, path.name).unlink()
        finally:
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()


def require_apart(written: Path, *read: Path | None) -> None:
    """Nobody's files are written over by a slip of the hand.

    Args:
        written: a file to write.
        read: what it is made from.

    Raises:
        InputError: they are the same.
    """
    final = os.path.realpath(written)
    if any(path is not None and os.path.realpath(path) == final for path in read):
        raise InputError("would overwrite what is read", where=str(written), hint=_OTHER_NAME)


def _behind_links(path: Path) -> Path:
    """The file that a path means; a device would be replaced by a file of its name."""
    final = Path(os.path.realpath(path))
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if final.exists() and not final.is_file():
        raise InputError("is no plain file", where=str(path), hint="give the name of a file")
    return final


def _new_file(folder: Path, name: str) -> Path:
    """Empty, with the permissions that the user gives new files, which tempfile's have not."""
    found = folder / f"{PARTIAL}{secrets.token_hex(4)}-{name}"
    os.close(os.open(found, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return found


@contextmanager
def told(path: Path, what: str, hint: str = "") -> Iterator[None]:
    """An ``OSError`` inside becomes an ``InputError`` that says ``what`` about ``path``."""
    try:
        yield
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError)  # a file where a folder should be
        why = "a file is in the way" if in_the_way else error.strerror or error
        raise InputError(f"{what}: {why}", where=str(path), hint=hint) from error
