"""The rules for connection tests: drafts are sealed and sent, never stored; results are kept for a while."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from ulid import ULID

from vreg_api import problems
from vreg_api.authentication import Actor
from vreg_api.connection_tests.judgement import Conclusion, conclusion_of, remedy_steps
from vreg_api.connection_tests.running import Broker
from vreg_api.connection_tests.schemas import ConnectionTestCreate
from vreg_api.connection_tests.store import ConnectionTest, ConnectionTestStore
from vreg_api.identities.service import Identities
from vreg_api.identities.store import Identity
from vreg_api.identities.trust import trust_of
from vreg_api.paging import PageRequest
from vreg_api.problems import ProblemError
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_api.upstreams.fitness import require_fit
from vreg_api.upstreams.service import Upstreams
from vreg_api.upstreams.store import Upstream
from vreg_shared.auth_method import TrustStep
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.messages.connection_test import DEADLINE_SECONDS, ConnectionOrder, StageReport
from vreg_shared.oci.reference import InvalidNameError, RepositoryName
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.probe import probe_of
from vreg_shared.provider import RegistryKind

NOUN: Final = "connection test"
AT_ONCE: Final = 16
"""In one api process."""
KEPT: Final = timedelta(days=30)
LOOK_SECONDS: Final = 0.25
_OVERDUE: Final = timedelta(seconds=DEADLINE_SECONDS + 30)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is tested: an upstream and its identity as they are, or would be."""

    upstream: Upstream
    identity: Identity | None
    saved_id: str | None
    probe: str


@dataclass(kw_only=True)
class ConnectionTests:
    """What can be done with connection tests. Tests run while `running` is entered.

    Every method raises ProblemError or DatabaseUnavailableError.
    """

    database: Database
    store: ConnectionTestStore
    upstreams: Upstreams
    identities: Identities
    catalogue: Catalogue
    grants: OperatorGrants
    broker: Broker
    clock: Clock
    _group: asyncio.TaskGroup | None = field(default=None, init=False)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what is started meanwhile; what has not ended at the end is cut short."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                yield
                for task in self._tasks.values():
                    task.cancel()
        finally:
            self._group = None

    async def start(self, wish: ConnectionTestCreate, actor: Actor) -> ConnectionTest:
        """Begin a test and return it at once."""
        if self._group is None or len(self._tasks) >= AT_ONCE:
            detail = f"{AT_ONCE} connection tests are running already; wait for one to end"
            raise ProblemError(problems.BUSY, detail, headers={"Retry-After": "5"})
        subject = await self._subject(wish, actor)
        now = self.clock.now()
        test = ConnectionTest(
            id=str(ULID.from_datetime(now)),
            upstream_id=subject.saved_id,
            upstream_name=subject.upstream.name,
            host=subject.upstream.host,
            probe=subject.probe,
            state="running",
            reason="",
            stages=[],
            remedy_steps=[],
            started_by=actor.access_id,
            started_at=now,
            ended_at=None,
        )
        async with self.database.write(is_news=False) as tx:
            await self.store.forget_before(tx, now - KEPT)
            await self.store.insert(tx, test)
        task = self._group.create_task(self._run(test, subject))
        self._tasks[test.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(test.id, None))
        return test

    async def read(self, identifier: str) -> ConnectionTest:
        """Return a test."""
        async with self.database.read() as tx:
            test = await self.store.find(tx, identifier)
        if test is None:
            raise problems.not_found(NOUN, identifier)
        return self._shown(test)

    async def page(self, asked: PageRequest, upstream_id: str | None) -> Sequence[ConnectionTest]:
        """Return a page, the latest first, and one more if there is one."""
        async with self.database.read() as tx:
            return [self._shown(test) for test in await self.store.page(tx, asked, upstream_id)]

    async def cancel(self, identifier: str) -> ConnectionTest:
        """End a test, wherever it runs; one that has ended stays as it is."""
        await self.read(identifier)
        await self._end(identifier, Conclusion("cancelled", "cancelled"), ())
        task = self._tasks.get(identifier)
        if task is not None:
            task.cancel()
        return await self.read(identifier)

    async def follow(self, identifier: str) -> AsyncIterator[ConnectionTest]:
        """Give the test whenever it has come further, the last time when it has ended."""
        shown = -1
        while True:
            test = await self.read(identifier)
            if len(test.stages) != shown or test.state != "running":
                shown = len(test.stages)
                yield test
            if test.state != "running":
                return
            await asyncio.sleep(LOOK_SECONDS)  # any process may run it, and only the database knows of all

    async def _subject(self, wish: ConnectionTestCreate, actor: Actor) -> _Subject:
        if wish.upstream is not None:
            upstream = self.upstreams.drafted(wish.upstream)
        else:
            upstream = await self.upstreams.read(wish.upstream_id or "", actor)
            if wish.upstream_change is not None:
                upstream = self.upstreams.after(upstream, wish.upstream_change)
        identity = await self._identity(wish, upstream, actor)
        upstream = replace(upstream, identity_id=identity.id if identity is not None else None)
        require_fit(self.catalogue, upstream, identity)
        return _Subject(upstream, identity, wish.upstream_id, wish.probe or upstream.probe)

    async def _identity(
        self, wish: ConnectionTestCreate, upstream: Upstream, actor: Actor
    ) -> Identity | None:
        if wish.identity is not None:
            return self.identities.drafted(wish.identity, actor)
        if upstream.identity_id is None:
            return None
        identity = await self.identities.read(upstream.identity_id, actor)
        if wish.identity_change is None:
            return identity
        return self.identities.after(identity, wish.identity_change, actor)

    async def _run(self, test: ConnectionTest, subject: _Subject) -> None:
        stages: list[dict[str, Any]] = []

        async def heard(report: StageReport) -> bool:
            stages.append(report.model_dump(mode="json"))
            return await self._write(test.id, stages=list(stages))

        order = ConnectionOrder(
            test_id=test.id,
            upstream=subject.upstream.record(),
            identity=subject.identity.record() if subject.identity is not None else None,
            probe=probe_of(subject.probe),
        )
        try:
            reports = await self.broker.run(order, heard)
            await self._end(test.id, conclusion_of(reports), self._steps(subject, reports))
        except DatabaseUnavailableError:
            return  # told of where it happened; the test is shown as overdue
        except asyncio.CancelledError:
            await self._end(test.id, Conclusion("cancelled", "cancelled"), ())
            raise

    async def _end(self, identifier: str, end: Conclusion, steps: Sequence[TrustStep]) -> None:
        await self._write(
            identifier,
            state=end.state,
            reason=end.reason,
            ended_at=self.clock.now(),
            remedy_steps=[
                {"title": each.title, "language": each.language, "file": each.file, "text": each.text}
                for each in steps
            ],
        )

    async def _write(self, identifier: str, **values: object) -> bool:
        async with self.database.write(is_news=False) as tx:
            return await self.store.update_running(tx, identifier, **values)

    def _steps(self, subject: _Subject, reports: Sequence[StageReport]) -> tuple[TrustStep, ...]:
        upstream, kind = subject.upstream, self.catalogue.kind(subject.upstream.kind)
        trust: Sequence[TrustStep] = ()
        if subject.identity is not None:
            view = trust_of(subject.identity, self.catalogue, self.grants)
            trust = [TrustStep(each.title, each.text, each.language, each.file) for each in view.steps]
        repository = _spelled(subject, kind)
        return remedy_steps(reports, trust, kind, upstream.host, repository)

    def _shown(self, test: ConnectionTest) -> ConnectionTest:
        """Show as ended what a process that died has left running for ever."""
        if test.state == "running" and self.clock.now() - test.started_at > _OVERDUE:
            return replace(test, state="failed", reason="test_timeout", ended_at=test.started_at + _OVERDUE)
        return test


def _spelled(subject: _Subject, kind: RegistryKind) -> str:
    """Return the probe's repository as the upstream spells it; empty without a probe."""
    probe, upstream = probe_of(subject.probe), subject.upstream
    if probe is None:
        return ""
    try:
        name = RepositoryName.parse(probe.repository).with_prefix(upstream.repository_prefix)
    except InvalidNameError:
        return ""  # the prefix makes it too long
    return kind.upstream_repository(name.value, upstream.host)
