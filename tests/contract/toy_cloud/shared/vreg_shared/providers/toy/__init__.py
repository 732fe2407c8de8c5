"""Toy Cloud: registries `<name>.registry.toy.example.test`, and keys that are exchanged for bearer tokens."""

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from vreg_shared.auth_method import AuthMethod, UsableFor
from vreg_shared.provider import (
    Answer,
    MethodExample,
    Presentation,
    Provider,
    RegistryKind,
    RejectionRule,
)
from vreg_shared.refusals import RefusalRule
from vreg_shared.secret import Secret

_HOST: Final = re.compile(r"(?P<name>[a-z]{3,20})\.registry\.toy\.example\.test")
_EXAMPLE_HOST: Final = "team.registry.toy.example.test"
_REMEDY: Final = "Give the identity a key that Toy Cloud knows."


class ToyKey(AuthMethod):
    """A key of a Toy Cloud account."""

    tag: ClassVar[str] = "toy.key"
    title: ClassVar[str] = "Toy key"
    help: ClassVar[str] = "A key that may read the account's registries."

    method: Literal["toy.key"] = "toy.key"
    account: Annotated[
        str,
        Field(title="Account", description="Whose key it is.", examples=["team"], pattern=r"^[a-z]{3,20}$"),
    ]
    key: Annotated[Secret, Field(title="Key", description="Shown once by Toy Cloud when it was made.")]


class ToyUsableFor(UsableFor):
    """The registries that may be read with the identity."""

    registries: Annotated[
        tuple[str, ...],
        Field(title="Registries", description="Names of registries.", examples=[["team"]], min_length=1),
    ]

    def permits(self, host: str, repository: str = "") -> bool:
        """Whether `host` is one of the registries."""
        del repository
        match = _HOST.fullmatch(host)
        return match is not None and match["name"] in self.registries


TOY: Final = RegistryKind(
    name="toy",
    title="Toy registry",
    example_host=_EXAMPLE_HOST,
    methods=("toy.key",),
    anonymous=False,
    presentation=Presentation.BEARER,
    owns=lambda host: _HOST.fullmatch(host) is not None,
    lease_scope=lambda identity_id, host: f"{identity_id}/{host}",
    rejections=(
        RejectionRule(401, Answer.REFUSED, "credential_expired", refreshable=True),
        RejectionRule(
            403,
            Answer.HIDDEN,
            "permission_denied",
            cause="The account may not read the registry.",
            remedy="Let the registry's owner add the account to its readers.",
        ),
    ),
)

PROVIDER: Final = Provider(
    name="toy",
    title="Toy Cloud",
    kinds=(TOY,),
    methods=(ToyKey,),
    usable_for=ToyUsableFor,
    refusals=(
        RefusalRule(
            reason="bad_credentials",
            remedy=_REMEDY,
            cause="The key was withdrawn, or is another account's.",
            statuses=frozenset({401}),
        ),
    ),
    examples=(
        MethodExample(
            method=ToyKey(account="team", key=Secret("example-toy-key")),
            usable_for=ToyUsableFor(registries=("team",)),
            kind="toy",
            host=_EXAMPLE_HOST,
        ),
    ),
)
