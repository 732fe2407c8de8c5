"""What the emulated world was asked, by whom and how often; credentials are noted as present, never kept."""

from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase

_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that was answered, or whose answer was cut off. `path` has no query: those hold secrets."""

    at: float
    service: str
    host: str
    method: str
    path: str
    operation: str
    region: str
    principal: str
    subject: str
    has_authorization: bool
    range: str
    status: int
    sent_bytes: int
    """Of the body, as far as it was handed to the network."""
    is_complete: bool
    """Whether the whole answer was."""


class RequestLog:
    """The last 200 000 requests. Filters are globs; an empty answer means that nobody asked."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)

    def note(self, entry: Entry) -> None:
        """Remember a request; services call this."""
        self._entries.append(entry)

    def count(  # noqa: PLR0913 -- each is a filter, given by name
        self,
        *,
        service: str = "*",
        host: str = "*",
        method: str = "*",
        path: str = "*",
        operation: str = "*",
        region: str = "*",
        principal: str = "*",
        subject: str = "*",
        status: str = "*",
    ) -> int:
        """Return how many requests match every filter."""
        return len(
            self.entries(
                service=service,
                host=host,
                method=method,
                path=path,
                operation=operation,
                region=region,
                principal=principal,
                subject=subject,
                status=status,
            )
        )

    def entries(  # noqa: PLR0913 -- the same
        self,
        *,
        service: str = "*",
        host: str = "*",
        method: str = "*",
        path: str = "*",
        operation: str = "*",
        region: str = "*",
        principal: str = "*",
        subject: str = "*",
        status: str = "*",
    ) -> tuple[Entry, ...]:
        """Return the requests that match every filter, oldest first."""
        wanted = {
            "service": service,
            "host": host,
            "method": method,
            "path": path,
            "operation": operation,
            "region": region,
            "principal": principal,
            "subject": subject,
            "status": status,
        }
        filters = [(name, pattern) for name, pattern in wanted.items() if pattern != "*"]
        return tuple(
            entry
            for entry in self._entries
            if all(fnmatchcase(str(getattr(entry, name)), pattern) for name, pattern in filters)
        )

    def clear(self) -> None:
        """Forget everything asked so far."""
        self._entries.clear()
