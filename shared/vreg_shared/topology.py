"""What is on the bus as data: buckets, streams, requests, and so exactly what each service may do there.

Only the broker creates streams: whoever may create one can make it copy another, so a creator can read
all that is stored. The broker may read all of it anyway, while the api must never read an identity.

NATS does not check the reply subject of a request. Whoever may ask the server anything can have its answer
written over a key it may not write: never signed, so readers refuse it, until the writer writes again.
An empty answer is worse: an empty message is how a stream is deleted, audit and all. A direct read of a key
that is not there is answered so, a pull from a consumer that has nothing, and every acknowledgement that
asks for one: nobody may read directly, pull or acknowledge, and readers remember themselves how far they are.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vreg_shared.errors import VregError
from vreg_shared.key_files import Service

CREATOR: Final = Service.TOKEN_BROKER
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
INBOX_ROOT: Final = "vreg.inbox"
_MIB: Final = 1024 * 1024
_CONSUMER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DEDUPE_WINDOW_NANOSECONDS: Final = 120 * 1_000_000_000
_MAX_MEMORY_BYTES: Final = 64 * _MIB


class UnknownStreamError(VregError):
    """No such bucket or stream is declared in `vreg_shared.topology`: declare it there first."""


class InvalidConsumerNameError(VregError):
    """The name cannot stand in a subject."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Latest value by key. `keys` are the patterns that the writer may write."""

    name: str
    keys: tuple[str, ...]
    writer: Service
    readers: tuple[Service, ...]
    max_bytes: int
    values_expire: bool = False

    @property
    def stream(self) -> str:
        """The stream that stores it."""
        return f"KV_{self.name}"

    @property
    def subjects(self) -> str:
        """Where its values are published."""
        return f"$KV.{self.name}.>"

    def configuration(self) -> dict[str, Any]:
        """Return what to ask the server for: full means refused, and nobody can delete or purge."""
        return {
            **_stream_configuration(self.stream, self.subjects, self.max_bytes),
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_msg_ttl": self.values_expire,
        }


@dataclass(frozen=True, slots=True)
class Stream:
    """Facts in order, each writer below its own `<root>.<service>.>`; the oldest go when it is full."""

    name: str
    root: str
    writers: tuple[Service, ...]
    readers: tuple[Service, ...]
    max_bytes: int

    @property
    def stream(self) -> str:
        """The stream that stores it: itself."""
        return self.name

    @property
    def subjects(self) -> str:
        """Everything it stores."""
        return f"{self.root}.>"

    def configuration(self) -> dict[str, Any]:
        """Return what to ask the server for."""
        return {**_stream_configuration(self.name, self.subjects, self.max_bytes), "discard": "old"}


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """A question with a deadline: who may ask it, and who answers."""

    subject: str
    askers: tuple[Service, ...]
    responder: Service


@dataclass(frozen=True, slots=True)
class Grants:
    """Everything a service may publish and subscribe to; whatever is not named is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


_API: Final = Service.API
_BROKER: Final = Service.TOKEN_BROKER
_PROXY: Final = Service.PROXY

BUCKETS: Final = (
    Bucket("vreg_config", ("registry.*", "upstream.*", "access.*"), _API, (_BROKER, _PROXY), 128 * _MIB),
    Bucket("vreg_identities", ("identity.*",), _API, (_BROKER,), 128 * _MIB),
    Bucket("vreg_leases", ("lease.*",), _BROKER, (_BROKER, _PROXY), 128 * _MIB),
    Bucket("vreg_health", ("upstream.*",), _BROKER, (_API, _BROKER, _PROXY), 32 * _MIB),
    Bucket("vreg_leader", ("broker",), _BROKER, (_BROKER,), _MIB, values_expire=True),
)
AUDIT: Final = Stream("VREG_AUDIT", "vreg.audit", (_API, _BROKER, _PROXY), (_API,), 512 * _MIB)
STREAMS: Final = (AUDIT, Stream("VREG_ACCESS", "vreg.access", (_PROXY,), (_API,), 64 * _MIB))
REQUESTS: Final = (
    RequestSubject("vreg.broker.refresh", (_PROXY,), _BROKER),
    RequestSubject("vreg.broker.test", (_API,), _BROKER),
    RequestSubject("vreg.broker.observed", (_PROXY,), _BROKER),
    RequestSubject("vreg.proxy.>", (_API, _BROKER), _PROXY),
)


def stored(name: str) -> Bucket | Stream:
    """Return the bucket or stream of that name; raise UnknownStreamError."""
    for declared in (*BUCKETS, *STREAMS):
        if declared.name == name:
            return declared
    raise UnknownStreamError(f"{name} is not declared in vreg_shared.topology")


def stream_called(name: str) -> Stream:
    """Return the stream of that name; raise UnknownStreamError."""
    declared = stored(name)
    if isinstance(declared, Bucket):
        raise UnknownStreamError(f"{name} is a bucket, whose values are followed")
    return declared


def inbox_prefix(service: Service) -> str:
    """Where a service is answered; nobody else may listen there."""
    return f"{INBOX_ROOT}.{service.value}"


def grants(service: Service) -> Grants:
    """Return exactly what a service may do on the bus."""
    publish = [
        *_keys_written(service),
        *(f"{stream.root}.{service.value}.>" for stream in STREAMS if service in stream.writers),
        *(subject for each in (*BUCKETS, *STREAMS) if service in each.readers for subject in _reading(each)),
        *(request.subject for request in REQUESTS if service in request.askers),
        *_answering(service),
        *(_creating() if service is CREATOR else ()),
    ]
    subscribe = [
        f"{inbox_prefix(service)}.>",
        *(request.subject for request in REQUESTS if request.responder is service),
    ]
    return Grants(tuple(publish), tuple(subscribe))


def consumer_inbox_prefix(name: str) -> str:
    """Where an outside consumer of audit events is answered; raise InvalidConsumerNameError."""
    if _CONSUMER_NAME.fullmatch(name) is None:
        raise InvalidConsumerNameError(
            f"{name!r} cannot name a consumer: lower-case letters, digits and hyphens, 63 at most"
        )
    return f"{INBOX_ROOT}.consumer.{name}"


def consumer_grants(name: str) -> Grants:
    """Return what an outside consumer may do: read audit events by a feed of its own name, and no more."""
    inbox = consumer_inbox_prefix(name)
    return Grants(_reading(AUDIT, consumer_of(name)), (f"{inbox}.>",))


def consumer_of(name: str) -> str:
    """Return what an outside consumer calls its feed of the stream."""
    return f"outside-{name}"


def _keys_written(service: Service) -> Iterable[str]:
    for bucket in BUCKETS:
        if bucket.writer is service:
            yield from (f"$KV.{bucket.name}.{key}" for key in bucket.keys)


def _reading(declared: Bucket | Stream, consumer: str = "*") -> tuple[str, ...]:
    """Allow a named consumer that says its filter, and flow control; no deletion and no direct read."""
    return (
        f"$JS.API.CONSUMER.CREATE.{declared.stream}.{consumer}.{declared.subjects}",
        f"$JS.FC.{declared.stream}.{'>' if consumer == '*' else f'{consumer}.>'}",
    )


def _answering(service: Service) -> Iterable[str]:
    askers = {asker for request in REQUESTS if request.responder is service for asker in request.askers}
    return (f"{inbox_prefix(asker)}.>" for asker in sorted(askers))


def _creating() -> Iterable[str]:
    for declared in (*BUCKETS, *STREAMS):
        for verb in ("CREATE", "UPDATE", "INFO"):
            yield f"$JS.API.STREAM.{verb}.{declared.stream}"


def _stream_configuration(name: str, subjects: str, max_bytes: int) -> dict[str, Any]:
    """On disk, read by consumers alone, deduplicated by message id."""
    return {
        "name": name,
        "subjects": [subjects],
        "storage": "file",
        "retention": "limits",
        "max_bytes": max_bytes,
        "max_msg_size": MAX_PAYLOAD_BYTES,
        "num_replicas": 1,
        "duplicate_window": _DEDUPE_WINDOW_NANOSECONDS,
        "allow_direct": False,
        "allow_rollup_hdrs": False,
        "deny_delete": True,
        "deny_purge": True,
    }


def nats_configuration(  # noqa: PLR0913 - a server has this many sides
    *,
    port: int,
    store: Path,
    nkeys: Mapping[Service, Sequence[str]],
    host: str = "127.0.0.1",
    server_name: str = "vreg",
    pid_file: Path | None = None,
    ports_file_dir: Path | None = None,
    consumers: Mapping[str, str] | None = None,
) -> str:
    """Return a complete nats.conf. `nkeys` are public user nkeys; a service has two while one is replaced.

    `consumers` are the outside consumers of audit events: the public nkey of each by its name.

    Port -1 lets the server choose and write its choice below `ports_file_dir`. There is no anonymous
    user and no monitoring, websocket, leafnode or cluster listener. Every write is on disk when it is
    acknowledged: `sync_interval: always`.
    """
    files = {"pid_file": pid_file, "ports_file_dir": ports_file_dir}
    lines = [
        "# Written by vreg from vreg_shared.topology: change it there.",
        f"server_name: {_quoted(server_name)}",
        f"host: {_quoted(host)}",
        f"port: {port}",
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        "# Dead clients are dropped soon, so that nothing piles up for them.",
        'ping_interval: "5s"',
        "ping_max: 2",
        'write_deadline: "5s"',
        *(f"{name}: {_quoted(str(path))}" for name, path in files.items() if path is not None),
        "jetstream {",
        f"  store_dir: {_quoted(str(store))}",
        "  sync_interval: always",
        f"  max_memory_store: {_MAX_MEMORY_BYTES}",
        f"  max_file_store: {_file_store_bytes()}",
        "}",
        "authorization {",
        "  timeout: 2",
        "  users: [",
        *(
            _user(service.value, nkey, grants(service))
            for service in Service
            for nkey in nkeys.get(service, ())
        ),
        *(consumer_user(name, nkey) for name, nkey in sorted((consumers or {}).items())),
        "  ]",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _file_store_bytes() -> int:
    """Twice what may be stored: limits can be raised later, and the server reserves before it frees."""
    return sum(declared.max_bytes for declared in (*BUCKETS, *STREAMS)) * 2


def consumer_user(name: str, nkey: str) -> str:
    """Return the user block of an outside consumer, for nats.conf; raise InvalidConsumerNameError."""
    return _user(f"outside consumer {name}", nkey, consumer_grants(name))


def _user(title: str, nkey: str, allowed: Grants) -> str:
    return "\n".join(
        (
            f"    # {title}",
            f"    {{ nkey: {_quoted(nkey)}, permissions: {{",
            f"      publish: {{ allow: {_list(allowed.publish)} }}",
            f"      subscribe: {{ allow: {_list(allowed.subscribe)} }}",
            "    } }",
        )
    )


def _list(subjects: Sequence[str]) -> str:
    return "[\n" + "".join(f"        {_quoted(subject)}\n" for subject in subjects) + "      ]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
