"""Every auth method of the catalogue at work in one running vreg: set up through the API, one upstream each.

The clouds' administrator and vreg's take turns, as in life: an identity is made first, vreg says how it will
show itself, the cloud trusts that, and the identity is given its final settings.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.clients.puller import Puller
from tests.clouds.clouds import Clouds, clouds
from tests.contract.kit import provider_methods, stage_of
from tests.contract.stage import Applicant, Prepared, Stage
from tests.e2e.admin import Admin
from tests.e2e.stack import Stack, StackFailedError, stack
from tests.support.wait import eventually
from vreg_shared.auth_method import AuthMethod
from vreg_shared.catalogue import catalogue
from vreg_shared.issuer_documents import subject_of

SLUG: Final = "every"
SITE: Final = "vreg.example.test"
ISSUER: Final = f"https://{SITE}/oidc"
_NOBODY: Final = "01JD0000000000000000000000"


@dataclass
class Member:
    """One auth method, trusted by its cloud and reachable through vreg."""

    provider: str
    tag: str
    stage: Stage
    prepared: Prepared
    identity_id: str
    external_id: str
    upstream_id: str

    @property
    def repository(self) -> str:
        """What clients ask for, behind the registry's slug; a tag or digest follows."""
        return f"{SLUG}/{self.prepared.repository}"

    def push(self, seed: str, tag: str) -> str:
        """Push an image that nobody has pulled; return its digest."""
        return self.stage.push(self.prepared, seed, tag)


@dataclass
class Cast:
    """All members, and the clouds and the vreg they are in."""

    clouds: Clouds
    stack: Stack
    admin: Admin
    stages: dict[str, Stage]
    platform: dict[str, str]
    """What vreg's machine was told of itself by the clouds it is in."""
    members: list[Member] = field(default_factory=list)
    token: str = ""

    def puller(self) -> Puller:
        """Return a small client with the cast's token."""
        return Puller(self.stack.proxy, self.token)

    def image(self, member: Member, tag: str) -> str:
        """Return what a person would write behind `docker pull`."""
        return f"{self.stack.proxy}/{member.repository}:{tag}"

    async def set_up(self, others: Sequence[Mapping[str, Any]] = ()) -> None:
        """Bring every method in, and give clients a token for the registry of them and of `others`."""
        for provider, tag in provider_methods():
            self.members.append(await self._member(provider, tag))
        memberships: list[dict[str, Any]] = [
            {"upstream_id": member.upstream_id, "allow": [member.prepared.repository]}
            for member in self.members
        ]
        memberships += [dict(other) for other in others]
        registry_id = await self.admin.registry_of(SLUG, memberships)
        _, self.token = await self.admin.access_token("client", registry_ids=[registry_id])
        await eventually(self._accepts_token, deadline=20)

    async def _member(self, provider: str, tag: str) -> Member:
        stage = self.stages[provider]
        first = stage.prepare(tag, applicant(_NOBODY, "vreg-nobody"))
        made = await self.admin.identity(tag, form(first.method), first.usable_for.model_dump(mode="json"))
        identity_id = str(made["id"])
        prepared = stage.prepare(tag, applicant(identity_id, made["external_id"]))
        changed = {
            "auth_method": form(prepared.method),
            "usable_for": prepared.usable_for.model_dump(mode="json"),
        }
        await self._change(identity_id, changed)
        upstream_id = await self.admin.upstream(
            tag.replace(".", "-"),
            prepared.kind,
            prepared.host,
            identity_id,
            repository_prefix=prepared.prefix,
            tag_validity_seconds=0,
        )
        return Member(provider, tag, stage, prepared, identity_id, str(made["external_id"]), upstream_id)

    async def replace(self, member: Member) -> None:
        """Change the member's credential in its cloud, and then in vreg."""
        member.prepared = member.stage.replace(member.prepared)
        await self._change(member.identity_id, {"auth_method": form(member.prepared.method)})

    async def trust_again(self, member: Member) -> None:
        """Let the cloud trust the identity anew, after it was refused, and tell vreg of its new settings."""
        asking = applicant(member.identity_id, member.external_id)
        member.prepared = member.stage.prepare(member.tag, asking)
        changed = {"auth_method": form(member.prepared.method)}
        if member.prepared.method.secret_fields():
            changed["usable_for"] = member.prepared.usable_for.model_dump(mode="json")
        await self._change(member.identity_id, changed)

    async def _change(self, identity_id: str, changed: dict[str, Any]) -> None:
        answer = await self.stack.call(
            "PATCH", f"/identities/{identity_id}", json=changed, headers={"If-Match": "*"}
        )
        if answer.status_code != 200:
            raise StackFailedError(f"{identity_id}: {answer.status_code} {answer.text[:1000]}")

    async def _accepts_token(self) -> bool:
        async with self.puller() as puller:
            return await puller.status("") == 200


def applicant(identity_id: str, external_id: str) -> Applicant:
    """Return what vreg tells the clouds of one of its identities."""
    return Applicant(identity_id, external_id, subject_of(identity_id), ISSUER)


def form(method: AuthMethod) -> dict[str, Any]:
    """Return what a person would type into the method's form."""
    secrets = method.secrets_json()
    return method.plain_settings() | (json.loads(secrets.reveal()) if secrets is not None else {})


@asynccontextmanager
async def cast(
    folder: Path, *, workers: int = 2, environment: dict[str, str] | None = None
) -> AsyncIterator[Cast]:
    """Run clouds and vreg below `folder`; nothing is set up in vreg yet."""
    async with clouds(folder / "clouds", is_separate=True) as running:
        stages = {provider.name: stage_of(provider.name, running) for provider in catalogue().providers}
        ambient = {method.tag for method in catalogue().methods() if method.is_ambient}
        platform: dict[str, str] = {}
        for provider, tag in provider_methods():
            if tag in ambient:
                platform |= stages[provider].prepare(tag, applicant(_NOBODY, "vreg-nobody")).environment
        settings = {
            **running.environment,
            **platform,
            "VREG_EGRESS_ALLOWED_NAMES": "*.example.test",
            "VREG_AMBIENT_METHODS": ",".join(sorted(ambient)),
            "VREG_ISSUER_URL": ISSUER,
            **(environment or {}),
        }
        async with stack(folder, environment=settings, workers=workers) as vreg:
            running.sites.publish(SITE, f"http://127.0.0.1:{vreg.api_port}")
            yield Cast(running, vreg, Admin(vreg), stages, platform)
