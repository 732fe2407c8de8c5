"""What the operator lets identities use of the machines that vreg runs on: nothing unless set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from vreg_shared.auth_method import AuthMethod, Objection
from vreg_shared.settings import GrantSettings


@dataclass(frozen=True, slots=True)
class OperatorGrants:
    """Ambient auth methods that are switched on, token files by name, and the URL of vreg's own issuer."""

    ambient_methods: frozenset[str] = frozenset()
    token_files: Mapping[str, Path] = field(default_factory=dict)
    issuer_url: str | None = None

    @classmethod
    def from_settings(cls, settings: GrantSettings) -> Self:
        """Read them from the settings that api and token-broker share."""
        return cls(frozenset(settings.ambient_methods), dict(settings.token_files), settings.issuer_url)

    def objections(self, method: AuthMethod) -> tuple[Objection, ...]:
        """Return what the operator has not permitted or configured of what a method needs."""
        if method.is_ambient and method.tag not in self.ambient_methods:
            message = (
                f"{method.tag} uses the identity of the machine that vreg runs on; the operator permits it "
                f"by adding {method.tag} to VREG_AMBIENT_METHODS"
            )
            return (Objection("method", "ambient_not_permitted", message),)
        need = method.identity_token
        if need is None:
            return ()
        if need.file is not None and need.file not in self.token_files:
            message = "the operator has configured no token file of this name (VREG_TOKEN_FILES)"
            return (Objection("token_file", "token_file_unknown", message),)
        if need.file is None and self.issuer_url is None:
            message = "the operator has configured no issuer (VREG_ISSUER_URL); set it, or name a token file"
            return (Objection("token_file", "issuer_not_configured", message),)
        return ()
