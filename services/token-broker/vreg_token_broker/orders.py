"""From a plan to an order: the identity's secrets are opened here, and nowhere else."""

import json
from typing import Protocol

from pydantic import ValidationError

from vreg_shared.auth_method import AuthMethod, Objection
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.sealing import SealBrokenError, SealingKey, open_sealed
from vreg_token_broker.exchange import ExchangeOrder, Refused
from vreg_token_broker.lease_book import Plan

_REMEDY_SEAL = "Give the identity its secrets again: they were sealed for another place, or altered."
_REMEDY_SETTINGS = "Correct the identity's settings."


class Grants(Protocol):
    """What the operator permits."""

    def objections(self, method: AuthMethod) -> tuple[Objection, ...]:
        """Return what is not permitted or configured of what a method needs."""
        ...


class Orders:
    """Opens what the api sealed to us, in the context it was sealed for."""

    def __init__(self, catalogue: Catalogue, sealing_key: SealingKey, clock: Clock, grants: Grants) -> None:
        self._catalogue = catalogue
        self._sealing_key = sealing_key
        self._clock = clock
        self._grants = grants

    def order(self, plan: Plan) -> ExchangeOrder | Refused:
        """Return what to ask of the exchange, or why nobody may be asked.

        That is `seal_broken`, `settings_invalid`, or what the operator or the method itself objects to.
        """
        identity = plan.identity
        try:
            secrets = (
                open_sealed(identity.sealed_secrets, self._sealing_key, identity.seal_context())
                if identity.sealed_secrets is not None
                else None
            )
            method = self._catalogue.method(identity.method).from_parts(identity.settings, secrets)
        except SealBrokenError as error:
            return Refused("seal_broken", str(error), _REMEDY_SEAL, is_final=True)
        except (ValidationError, json.JSONDecodeError, TypeError) as error:
            return Refused("settings_invalid", _fields(error), _REMEDY_SETTINGS, is_final=True)
        provider = self._catalogue.provider_of_method(method.tag)
        usable_for = provider.usable_for.model_validate(identity.usable_for)
        for objection in self._grants.objections(method) + method.objections(usable_for, self._clock.now()):
            return Refused(objection.code, objection.field, objection.message, is_final=True)
        # A lease may also name a token endpoint's host, which is no registry of the kind.
        host = next(host for host in plan.hosts if plan.kind.owns(host))
        return ExchangeOrder(identity.id, identity.external_id, method, plan.kind, host, usable_for)


def _fields(error: Exception) -> str:
    """Return which fields are wrong, without what they hold."""
    if not isinstance(error, ValidationError):
        return "the secrets are not a JSON object"
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
