"""What goes wrong on command: which requests are hit, how, and how often."""

from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase


class Harm(StrEnum):
    """What happens. The groups below say when."""

    UNREACHABLE = "unreachable"
    """CONNECT is answered 502, as when a name does not resolve or nobody listens."""
    SILENT = "silent"
    """CONNECT is never answered."""
    UNTRUSTED = "untrusted"
    """The certificate is signed by somebody else."""
    OUTDATED = "outdated"
    """The certificate ended yesterday."""

    LATENCY = "latency"
    """The answer begins `seconds` later."""
    THROTTLE = "throttle"
    """Too many requests, in the service's dialect; with Retry-After if `retry_after` is given."""
    FAIL = "fail"
    """`status`, 500 to 599, in the service's dialect."""
    DROP = "drop"
    """The connection is reset before a word is said."""

    RESET = "reset"
    """The connection is reset after `after_bytes` of the body."""
    TRUNCATE = "truncate"
    """The connection is closed, politely, after `after_bytes` of the body."""
    CORRUPT = "corrupt"
    """The byte at `after_bytes` of the body is another one."""
    DRIP = "drip"
    """From `after_bytes` on, the body comes at `bytes_per_second`."""
    STALL = "stall"
    """After `after_bytes` of the body nothing more comes, and nothing is closed."""


ON_CONNECT = frozenset({Harm.UNREACHABLE, Harm.SILENT, Harm.UNTRUSTED, Harm.OUTDATED})
BEFORE_ANSWER = frozenset({Harm.LATENCY, Harm.THROTTLE, Harm.FAIL, Harm.DROP})
IN_BODY = frozenset({Harm.RESET, Harm.TRUNCATE, Harm.CORRUPT, Harm.DRIP, Harm.STALL})


@dataclass(frozen=True, slots=True)
class Fault:
    """A harm and the requests it hits: globs over service, host, path (undecoded) and method.

    `times` is how many requests (or CONNECTs) are hit, None until cleared. Harms in a body hit only
    successful GETs that have one.
    """

    harm: Harm
    service: str = "*"
    host: str = "*"
    path: str = "*"
    method: str = "*"
    times: int | None = 1
    status: int = 503
    retry_after: int | None = None
    after_bytes: int = 0
    seconds: float = 0.0
    bytes_per_second: int = 1024

    def hits(self, service: str, host: str, path: str, method: str) -> bool:
        """Whether a request is one of those."""
        return (
            fnmatchcase(service, self.service)
            and fnmatchcase(host, self.host)
            and fnmatchcase(path, self.path)
            and fnmatchcase(method, self.method)
        )


class Faults:
    """The faults that are waiting; each is taken as often as it says, in the order they were added."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let `fault` wait for its requests."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()

    def waiting(self) -> tuple[Fault, ...]:
        """Return what has not happened yet; `times` is what is left."""
        return tuple(self._waiting)

    def take(
        self, stage: frozenset[Harm], service: str, host: str, path: str = "", method: str = ""
    ) -> tuple[Fault, ...]:
        """Return what hits this request at this stage, one of each harm, and count it as happened."""
        hit: dict[Harm, Fault] = {}
        left: list[Fault] = []
        for fault in self._waiting:
            if fault.harm in stage and fault.harm not in hit and fault.hits(service, host, path, method):
                hit[fault.harm] = fault
                if fault.times is not None:
                    fault = replace(fault, times=fault.times - 1)  # noqa: PLW2901 -- the one that is left
            if fault.times is None or fault.times > 0:
                left.append(fault)
        self._waiting = left
        return tuple(hit.values())
