"""Secrets on their one way in: from a form into a seal that only the broker can open.

Pure: what a change makes of an identity's auth method, and whether the secrets must be given again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from vreg_api.identities.auth_method_forms import AuthMethodChange, view_of
from vreg_api.identities.store import Identity
from vreg_api.problem_responses import of_validation
from vreg_api.problems import credential_required
from vreg_shared.auth_method import AuthMethod
from vreg_shared.messages.identity import seal_context
from vreg_shared.sealing import SealingPublicKey, seal
from vreg_shared.secret import Secret


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals to the broker's public key."""

    key: SealingPublicKey

    def with_method(self, identity: Identity, method: AuthMethod) -> Identity:
        """Return `identity` with this auth method and its secrets sealed in the identity's context."""
        secrets = method.secrets_json()
        return replace(
            identity,
            method=method.tag,
            settings=_without_tag(method.plain_settings()),
            secret_fields=_set_secrets(method),
            sealed_secrets=self._sealed(identity, method.tag, secrets) if secrets is not None else None,
        )

    def _sealed(self, identity: Identity, tag: str, secrets: Secret) -> str:
        context = seal_context(identity.id, tag, identity.usable_for, identity.credential_version)
        return seal(secrets, self.key, context)


def changed(
    sealer: Sealer,
    identity: Identity,
    method: type[AuthMethod],
    change: AuthMethodChange | None,
    usable_for: dict[str, Any],
) -> Identity:
    """Return the identity after a change of auth method or `usable_for`; raise ProblemError.

    `method` is the one after the change. Whatever the seal binds can only change together with the secrets.
    """
    given = {name: getattr(change, name) for name in change.model_fields_set} if change is not None else {}
    secrets_given = {name for name in method.secret_fields() if name in given}
    is_bound_changed = method.tag != identity.method or usable_for != identity.usable_for
    kept = identity.settings if method.tag == identity.method else {}
    if not secrets_given and (identity.secret_fields or _required_secrets(method)):
        if is_bound_changed:
            why = "the stored secret is sealed to its auth method and usable_for"
            raise credential_required(_named(_required_secrets(method)), why)
        return replace(identity, settings=_checked_settings(method, {**kept, **given}))
    missing = {name for name in _required_secrets(method) if given.get(name) is None}
    if missing:
        raise credential_required(_named(missing), "an auth method's secrets are sealed together")
    whole = _checked(method, {**kept, **given})
    renewed = replace(identity, usable_for=usable_for, credential_version=identity.credential_version + 1)
    return sealer.with_method(renewed, whole)


def settings_of(identity: Identity, method: type[AuthMethod]) -> AuthMethod:
    """Return an identity's auth method without its secrets, for whoever reads settings alone."""
    view = view_of(method).model_validate({**identity.settings, "method": method.tag})
    return method.model_construct(**dict(view))


def _checked(method: type[AuthMethod], fields: Mapping[str, Any]) -> AuthMethod:
    try:
        return method.model_validate({**fields, "method": method.tag})
    except ValidationError as error:
        raise of_validation(error, below="auth_method") from None


def _checked_settings(method: type[AuthMethod], fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        view = view_of(method).model_validate({**fields, "method": method.tag})
    except ValidationError as error:
        raise of_validation(error, below="auth_method") from None
    return _without_tag(view.model_dump(mode="json"))


def _without_tag(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "method"}


def _required_secrets(method: type[AuthMethod]) -> set[str]:
    return {name for name in method.secret_fields() if method.model_fields[name].is_required()}


def _set_secrets(method: AuthMethod) -> tuple[str, ...]:
    return tuple(sorted(name for name in method.secret_fields() if getattr(method, name) is not None))


def _named(fields: set[str]) -> tuple[str, ...]:
    return tuple(f"auth_method.{name}" for name in sorted(fields))
