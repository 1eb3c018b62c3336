"""Files that are either whole or not there, and what the system says told in one line."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detq.errors import InputError

PARTIAL = ".part-"  # begins the name of a file that is being written


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` only if nothing was raised.

    Its name ends as that of ``path`` does, for writers that go by the suffix.

    Raises:
        InputError: the folder cannot be made or written, or is full.
    """
    temporary: Path | None = None
    try:
        with told(path, "cannot be written", "choose a folder that is writable and has room"):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=f"-{path.name}", dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def told(path: Path, what: str, hint: str = "") -> Iterator[None]:
    """An ``OSError`` inside becomes an ``InputError`` that says ``what`` about ``path``."""
    try:
        yield
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError)  # a file where a folder should be
        why = "a file is in the way" if in_the_way else error.strerror or error
        raise InputError(f"{what}: {why}", where=str(path), hint=hint) from error
