"""The basic provider with more to it: an issuer that it needs, documents that it reads, trust to be set up.

The api's forms are made of the real catalogue, so it keeps the real one's method and tag.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed, TrustContext, TrustStep
from vreg_shared.catalogue import Catalogue, catalogue
from vreg_shared.provider import DocumentRefusedError, Provider
from vreg_shared.providers.basic.auth_methods import Password


class Keyless(Password):
    """Begins with an identity token, and shows all that it is told when trust is set up."""

    @property
    def identity_token(self) -> IdentityTokenNeed:
        return IdentityTokenNeed(audience=self.username)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        named = f"{context.subject} {context.external_id} {context.issuer_url} {context.identity_name}"
        policy = TrustStep("Write the policy", f'{{"sub": "{context.subject}"}}', "json", "trust.json")
        return (policy, TrustStep("Make the role", f"cloud roles create {self.username} {named}"))


class Ambient(Password):
    """Uses the broker's own machine."""

    is_ambient: ClassVar[bool] = True


def read_document(document: Mapping[str, Any]) -> AuthMethod:
    """Take a user and a password, and nothing else."""
    unknown = document.keys() - {"type", "user", "key"}
    if document.get("type") != "robot" or unknown:
        raise DocumentRefusedError("the document's type is not robot, or it has members that are not taken")
    return Password.model_validate({"username": document.get("user"), "password": document.get("key")})


def catalogue_with(**changes: Any) -> Catalogue:  # noqa: ANN401 - whatever the basic provider shall declare
    """Return the catalogue with another basic provider."""
    return Catalogue(tuple(_changed(each, changes) for each in catalogue().providers))


def _changed(provider: Provider, changes: dict[str, Any]) -> Provider:
    return replace(provider, **changes) if provider.name == "basic" else provider
