"""The scene that demo and tests share: ECR in two accounts and two regions, and two real registries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.clients.puller import Puller
from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.images import Image, push_to_registry
from tests.clouds.registries import RunningRegistry
from tests.e2e.admin import Admin
from tests.e2e.stack import Stack, stack
from tests.support.wait import eventually

ACCOUNTS: Final = ("111111111111", "222222222222")
REGIONS: Final = ("eu-west-1", "us-east-1")
HOME_ACCOUNT: Final = "999999999999"
"""Where vreg's own user lives; the images are in other accounts."""
OPEN_HOST: Final = "registry.example.test"
PROTECTED_HOST: Final = "harbor.example.test"
ROLE_NAME: Final = "vreg-pull"
SLUG: Final = "demo"


@dataclass(frozen=True, slots=True)
class Place:
    """One registry of the emulated AWS."""

    account: str
    region: str

    @property
    def host(self) -> str:
        """Its name, as in real life."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"

    @property
    def repository(self) -> str:
        """The repository that this scene keeps there."""
        return f"team-{self.account[0]}/{self.region}"


PLACES: Final = tuple(Place(account, region) for account in ACCOUNTS for region in REGIONS)


@dataclass(frozen=True, slots=True)
class Keys:
    """What the administrator of the clouds hands to the administrator of vreg."""

    user: MadeKey
    assuming_user: MadeKey
    role_arn: str


class Scene:
    """Clouds and a running vreg, before and after an administrator has set it up."""

    def __init__(self, clouds_: Clouds, stack_: Stack, registries: tuple[RunningRegistry, ...]) -> None:
        self.clouds = clouds_
        self.stack = stack_
        self.admin = Admin(stack_)
        self.open_registry, self.protected_registry = registries
        self.keys = self._make_principals()
        self.upstream_ids: list[str] = []
        self.registry_id = ""
        self.token_id, self.token = "", ""

    def _make_principals(self) -> Keys:
        role = f"arn:aws:iam::{HOME_ACCOUNT}:role/{ROLE_NAME}"
        user = self.clouds.aws.add_user(HOME_ACCOUNT, "vreg", allow=may_pull())
        assuming = self.clouds.aws.add_user(HOME_ACCOUNT, "vreg-broker", allow=may_assume(role))
        self.clouds.aws.add_role(HOME_ACCOUNT, ROLE_NAME, trusts=(assuming.arn,), allow=may_pull())
        for place in PLACES:
            self.clouds.aws.add_repository(
                place.account, place.region, place.repository, readers=(user.arn, role)
            )
        return Keys(user, assuming, role)

    def push_to_ecr(self, place: Place, image: Image, *tags: str) -> str:
        """Push an image to the scene's repository of an emulated registry; return its digest."""
        readers = (self.keys.user.arn, self.keys.role_arn)
        repository = self.clouds.ecr(place.account, place.region, place.repository, readers=readers)
        return repository.push(image, *tags)

    async def push_to_registry(
        self, registry: RunningRegistry, repository: str, image: Image, *tags: str
    ) -> str:
        """Push an image to a real registry; return its digest."""
        return await push_to_registry(registry, repository, image, *tags)

    async def set_up(self) -> None:
        """Do what an administrator does: identities, the role's trust, upstreams, a registry, a token.

        The first account is read with a key, the second through a role that requires the external id.
        """
        usable = {"partition": "aws", "accounts": list(ACCOUNTS)}
        key = await self.admin.identity("aws-key", self._key_method(self.keys.user), usable)
        role = await self.admin.identity(
            "aws-role",
            {
                **self._key_method(self.keys.assuming_user),
                "method": "aws.assume_role",
                "role_arn": self.keys.role_arn,
            },
            usable,
        )
        self.clouds.aws.add_role(
            HOME_ACCOUNT,
            ROLE_NAME,
            trusts=(self.keys.assuming_user.arn,),
            external_id=role["external_id"],
            allow=may_pull(),
        )
        harbor = await self.admin.identity(
            "harbor-robot",
            {
                "method": "basic.password",
                "username": self.protected_registry.username,
                "password": self.protected_registry.password,
            },
            {"hosts": [PROTECTED_HOST]},
        )
        for place in PLACES:
            identity = key if place.account == ACCOUNTS[0] else role
            name = f"ecr-{place.account[0]}-{place.region}"
            self.upstream_ids.append(
                await self.admin.upstream(name, "ecr", place.host, identity["id"], tag_validity_seconds=0)
            )
        for name, host, identity_id in (
            ("open-registry", OPEN_HOST, None),
            ("harbor", PROTECTED_HOST, harbor["id"]),
        ):
            self.upstream_ids.append(
                await self.admin.upstream(name, "oci", host, identity_id, tag_validity_seconds=0)
            )
        # Each account is asked for its own repository alone, so no other learns its name.
        allowed = [[place.repository] for place in PLACES] + [[], []]
        self.registry_id = await self.admin.registry_of(
            SLUG,
            [
                {"upstream_id": upstream_id, "allow": allow}
                for upstream_id, allow in zip(self.upstream_ids, allowed, strict=True)
            ],
        )
        self.token_id, self.token = await self.admin.access_token("client")
        await eventually(self._accepts_token, deadline=20)

    @staticmethod
    def _key_method(key: MadeKey) -> dict[str, str]:
        return {
            "method": "aws.access_key",
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
        }

    async def _accepts_token(self) -> bool:
        async with Puller(self.stack.proxy, self.token) as puller:
            return await puller.status("") == 200

    def image(self, repository: str, tag: str) -> str:
        """Return what a person would write behind `docker pull`."""
        return f"{self.stack.proxy}/{SLUG}/{repository}:{tag}"

    def puller(self) -> Puller:
        """Return a small client with the scene's token."""
        return Puller(self.stack.proxy, self.token)


@asynccontextmanager
async def scene(
    folder: Path, *, workers: int = 2, environment: dict[str, str] | None = None
) -> AsyncIterator[Scene]:
    """Run clouds and vreg below `folder`; nothing is set up in vreg yet."""
    async with clouds(folder / "clouds", is_separate=True) as running:
        registries = (
            running.registry(OPEN_HOST),
            running.registry(PROTECTED_HOST, is_protected=True),
        )
        settings = {
            **running.environment,
            "VREG_EGRESS_ALLOWED_NAMES": "*.example.test",
            **(environment or {}),
        }
        async with stack(folder, environment=settings, workers=workers) as vreg:
            yield Scene(running, vreg, registries)
