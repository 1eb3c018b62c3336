"""Where a device is: ``user@name[:port]``, or an alias of the user's ssh configuration."""

import re
from dataclasses import dataclass

from detq.errors import InputError

_FORM = re.compile(
    r"(?:(?P<user>[^@\s:]+)@)?(?:\[(?P<v6>[0-9a-fA-F:.%\w]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d+))?"
)


@dataclass(frozen=True, slots=True)
class Host:
    """A device.

    Attributes:
        name: host name, address, or alias in ``~/.ssh/config``.
        user: empty leaves it to the ssh configuration.
        port: None leaves it to the ssh configuration, 22 in the end.
    """

    name: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        return f"{self._at()}{':' if self.port else ''}{self.port or ''}"

    @property
    def ssh(self) -> str:
        """The command that opens a session there by hand."""
        return f"ssh {f'-p {self.port} ' if self.port else ''}{self._at(plain=True)}"

    @property
    def keyscan(self) -> str:
        """The command that fetches its host keys."""
        return f"ssh-keyscan {f'-p {self.port} ' if self.port else ''}{self.name}"

    def _at(self, *, plain: bool = False) -> str:
        name = self.name if plain or ":" not in self.name else f"[{self.name}]"
        return f"{self.user}@{name}" if self.user else name


def host_from(text: str) -> Host:
    """Read ``user@name[:port]``; an IPv6 address stands in brackets.

    Raises:
        InputError: it is not of this form.
    """
    match = _FORM.fullmatch(text.strip())
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise InputError(
            f"{text!r} is no device",
            where="--on",
            hint="give user@host or user@host:port, or a Host of ~/.ssh/config",
        )
    return Host(match["v6"] or match["name"], match["user"] or "", port)
