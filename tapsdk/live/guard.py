"""Who may see a page of this machine: whoever is at it; others only with the token that is in the page's address."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class Guard:
    """host: the address that the server is bound to; any but those of this machine alone make a token necessary.

    token: "" where none is. port: known once the server is bound.
    """

    host: str
    port: int = 0
    token: str = field(init=False)

    def __post_init__(self) -> None:
        self.token = "" if self.host in LOCAL else secrets.token_urlsafe(24)

    @property
    def root(self) -> str:
        """The path under which everything lies."""
        return f"/{self.token}/" if self.token else "/"

    @property
    def url(self) -> str:
        return f"http://{_bracketed(self.host)}:{self.port}{self.root}"

    def inner(self, path: str) -> str | None:
        """What a request's path names under `root`; None where the token in it is missing or wrong."""
        if not self.token:
            return path.removeprefix("/")
        given, _, rest = path.removeprefix("/").partition("/")
        return rest if secrets.compare_digest(given.encode(errors="replace"), self.token.encode()) else None

    def is_ours(self, host: str | None) -> bool:
        """Whether a request's Host is one of this machine's names. Another may be a name that somebody else controls,
        whose page then asks us as if it were ours (DNS rebinding); with a token that does not help them."""
        if self.token:
            return True
        names = (_bracketed(name) for name in LOCAL)
        return host is not None and host.lower() in {f"{name}:{self.port}" for name in names}

    def is_same_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a WebSocket is asked for by our own page, or by no page at all: browsers let pages of anybody
        ask, and always say whose they are."""
        if origin is None:
            return True
        asked = urlsplit(origin)
        return asked.scheme in ("http", "https") and asked.netloc.lower() == (host or "").lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
