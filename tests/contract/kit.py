"""One auth method in its emulated world: exchanges by the broker's own module, pulls by the real client."""

import importlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ulid import ULID

from tests.clouds import issuer
from tests.clouds.clouds import Clouds
from tests.contract.stage import Applicant, Prepared, Stage
from vreg_shared.auth_method import IdentityTokenNeed
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.issuer_documents import subject_of
from vreg_shared.lease import Generation, Lease
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import RepositoryName, parse_reference
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import (
    Credentials,
    CredentialUnavailableError,
    RegistryClient,
    Target,
    open_upstream_session,
)
from vreg_shared.secret import Secret
from vreg_shared.settings import EgressSettings
from vreg_token_broker.exchange import Exchange, ExchangeOrder, ExchangeWorld, Issued, Outcome
from vreg_token_broker.exchanges import find_exchanges
from vreg_token_broker.trust_file import write_trust_file

_LIFE_OF_IDENTITY_TOKENS = 300


def provider_methods() -> list[tuple[str, str]]:
    """Return every provider and auth method there is."""
    return [(provider.name, method.tag) for provider in catalogue().providers for method in provider.methods]


def stage_of(provider: str, clouds: Clouds) -> Stage:
    """Return a provider's stage; a provider without one fails here."""
    made: Stage = importlib.import_module(f"tests.contract.stages.{provider}").stage(clouds)
    return made


class SignedByTestIssuer:
    """Identity tokens as vreg's own issuer makes them, by an issuer that the emulated clouds can look up."""

    def __init__(self, own: issuer.TestIssuer) -> None:
        self._own = own
        self.given: list[str] = []
        """Every token so far: none may show anywhere."""

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        now = int(datetime.now(UTC).timestamp())
        claims = {"iat": now, "nbf": now - 30, "exp": now + _LIFE_OF_IDENTITY_TOKENS}
        token = self._own.token(sub=subject_of(identity_id), aud=need.audience, **claims)
        self.given.append(token)
        return Secret(token)


@dataclass
class Setting:
    """Where contract tests play: clouds, an issuer they trust, and a folder for the broker's files."""

    clouds: Clouds
    issuer: issuer.TestIssuer
    folder: Path

    def __post_init__(self) -> None:
        self.identity_tokens = SignedByTestIssuer(self.issuer)

    def policy(self, **changes: str) -> EgressPolicy:
        """Return the way out, through the gateway."""
        settings = EgressSettings(
            **({"https_proxy": self.clouds.gateway_url} | changes),
            ca_bundle=self.clouds.ca_bundle,
            no_proxy="127.0.0.1",
            egress_allowed_names=("*.example.test",),
        )
        return EgressPolicy.from_settings(settings)

    def exchange(self, provider: str, environment: Mapping[str, str]) -> Exchange:
        """Return the broker's exchange of a provider."""
        policy = self.policy()
        world = ExchangeWorld(
            SystemClock(),
            policy,
            str(write_trust_file(self.folder, policy.ca_pem)),
            identity_tokens=self.identity_tokens,
            environment=environment,
        )
        return find_exchanges(catalogue(), world)[provider]

    def cast(self, provider: str, tag: str) -> "Part":
        """Return one auth method, trusted by its cloud and ready to climb."""
        identity_id = str(ULID())
        applicant = Applicant(
            identity_id, f"vreg-{identity_id.lower()}", subject_of(identity_id), self.issuer.url
        )
        stage = stage_of(provider, self.clouds)
        return Part(self, provider, stage, applicant, stage.prepare(tag, applicant))


@dataclass
class Part:
    """One auth method at work."""

    setting: Setting
    provider: str
    stage: Stage
    applicant: Applicant
    prepared: Prepared

    async def climb(self, prepared: Prepared | None = None) -> Outcome:
        """Make one exchange."""
        wanted = prepared or self.prepared
        exchange = self.setting.exchange(self.provider, wanted.environment)
        return await exchange.lease_for(self.order(wanted))

    def order(self, prepared: Prepared) -> ExchangeOrder:
        """Return what the exchange is asked."""
        kind = catalogue().kind(prepared.kind)
        return ExchangeOrder(
            self.applicant.identity_id,
            self.applicant.external_id,
            prepared.method,
            kind,
            prepared.host,
            prepared.usable_for,
        )

    async def issued(self, prepared: Prepared | None = None) -> Issued:
        """Make one exchange that must succeed."""
        outcome = await self.climb(prepared)
        assert isinstance(outcome, Issued), outcome
        return outcome

    def lease(self, issued: Issued, number: int = 1) -> Lease:
        """Return the lease that the broker makes of it."""
        prepared = self.prepared
        kind = catalogue().kind(prepared.kind)
        reach = kind.lease_repositories(prepared.prefix)
        return Lease(
            scope=kind.lease_scope(self.applicant.identity_id, prepared.host),
            identity_id=self.applicant.identity_id,
            hosts=(prepared.host,),
            generation=Generation(1, number, "contract"),
            issued_at=issued.issued_at,
            refresh_at=None,
            not_after=issued.not_after,
            credential=issued.credential,
            repositories=(reach,) if reach else (),
        )

    async def pull(self, credentials: Credentials) -> str | Verdict:
        """Return the digest of the prepared image's manifest, having read a blob of it; or why not."""
        prepared = self.prepared
        target = Target("contract", catalogue().kind(prepared.kind), prepared.host)
        name = RepositoryName.parse(f"{prepared.prefix}/{prepared.repository}".lstrip("/"))
        async with open_upstream_session(self.setting.policy(), target) as session:
            client = RegistryClient(target, session, credentials, SystemClock())
            manifest = await client.get_manifest(name, parse_reference(prepared.tag))
            if isinstance(manifest, Verdict):
                return manifest
            layer = json.loads(manifest.body)["layers"][0]["digest"]
            verdict = await _read(client, name, layer)
            return str(manifest.digest) if verdict is None else verdict


async def _read(client: RegistryClient, name: RepositoryName, digest: str) -> Verdict | None:
    async with client.open_blob(name, Digest.parse(digest)) as stream:
        if isinstance(stream, Verdict):
            return stream
        async for _ in stream.chunks:
            pass
    return None


class Exchanging:
    """Credentials as a proxy has them: a lease, and another from the broker when it was refused."""

    def __init__(self, part: Part, first: Issued) -> None:
        self._part = part
        self._numbers = itertools.count(2)
        self._lease = part.lease(first)
        self.replaced = 0

    async def current(self) -> Lease:
        return self._lease

    async def replace(self, refused: Generation) -> Lease:
        assert refused == self._lease.generation
        self.replaced += 1
        outcome = await self._part.climb()
        if not isinstance(outcome, Issued):
            raise CredentialUnavailableError(Verdict(Answer.REFUSED, outcome.reason, detail=outcome.detail))
        self._lease = self._part.lease(outcome, next(self._numbers))
        return self._lease
