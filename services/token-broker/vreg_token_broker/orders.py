"""From a plan to an order: the identity's secrets are opened here, and nowhere else."""

import json

from pydantic import ValidationError

from vreg_shared.catalogue import Catalogue
from vreg_shared.sealing import SealBrokenError, SealingKey, open_sealed
from vreg_token_broker.exchange import ExchangeOrder, Refused
from vreg_token_broker.lease_book import Plan

_REMEDY_SEAL = "Give the identity its secrets again: they were sealed for another place, or altered."
_REMEDY_SETTINGS = "Correct the identity's settings."


class Orders:
    """Opens what the api sealed to us, in the context it was sealed for."""

    def __init__(self, catalogue: Catalogue, sealing_key: SealingKey) -> None:
        self._catalogue = catalogue
        self._sealing_key = sealing_key

    def order(self, plan: Plan) -> ExchangeOrder | Refused:
        """Return what to ask of the exchange, or why nothing may be: `seal_broken`, `settings_invalid`."""
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
        return ExchangeOrder(identity.id, identity.external_id, method, plan.kind, plan.hosts[0])


def _fields(error: Exception) -> str:
    """Return which fields are wrong, without what they hold."""
    if not isinstance(error, ValidationError):
        return "the secrets are not a JSON object"
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
