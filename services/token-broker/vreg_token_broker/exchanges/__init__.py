"""One module a provider, found by the provider's name: nothing else imports a cloud's SDK.

A module `vreg_token_broker.exchanges.<provider>` has a function `exchange(world: ExchangeWorld) -> Exchange`.
"""

import importlib
from collections.abc import Mapping

from vreg_shared.catalogue import Catalogue
from vreg_shared.errors import VregError
from vreg_token_broker.exchange import Exchange, ExchangeWorld


class MissingExchangeError(VregError):
    """A provider is declared and cannot be exchanged for: its module is absent or lacks `exchange`."""


def find_exchanges(catalogue: Catalogue, world: ExchangeWorld) -> Mapping[str, Exchange]:
    """Return the exchange of every provider, by provider name; raise MissingExchangeError."""
    return {provider.name: _find(provider.name, world) for provider in catalogue.providers}


def _find(provider: str, world: ExchangeWorld) -> Exchange:
    name = f"{__name__}.{provider}"
    try:
        found: Exchange = importlib.import_module(name).exchange(world)
    except (ImportError, AttributeError) as error:
        raise MissingExchangeError(f"{name} must have a function exchange(world): {error}") from error
    return found
