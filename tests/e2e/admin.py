"""What an administrator does through the API, one call each."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e.stack import Stack


class Admin:
    """Creates nouns in a running vreg; every method returns the id, or what is shown only once."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def identity(
        self, name: str, method: Mapping[str, Any], usable_for: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Create an identity; its answer holds the external id that a trust policy needs."""
        return await self._stack.create(
            "identities", {"name": name, "auth_method": dict(method), "usable_for": dict(usable_for)}
        )

    async def upstream(
        self, name: str, kind: str, host: str, identity_id: str | None = None, **more: object
    ) -> str:
        """Create an upstream; return its id."""
        body = {"name": name, "kind": kind, "host": host, "identity_id": identity_id, **more}
        return str((await self._stack.create("upstreams", body))["id"])

    async def registry(self, slug: str, upstream_ids: Sequence[str]) -> str:
        """Create a virtual registry over these upstreams, in order; return its id."""
        return await self.registry_of(slug, [{"upstream_id": upstream_id} for upstream_id in upstream_ids])

    async def registry_of(self, slug: str, memberships: Sequence[Mapping[str, Any]]) -> str:
        """Create a virtual registry with memberships spelt out; return its id."""
        body = {"slug": slug, "memberships": [dict(membership) for membership in memberships]}
        return str((await self._stack.create("virtual_registries", body))["id"])

    async def access_token(
        self, name: str, role: str = "puller", registry_ids: Sequence[str] | None = None
    ) -> tuple[str, str]:
        """Create an access token; return its id and its text, which is shown only now."""
        body = {
            "name": name,
            "role": role,
            "registry_ids": None if registry_ids is None else list(registry_ids),
        }
        created = await self._stack.create("access_tokens", body)
        return str(created["id"]), str(created["token"])
