"""What Microsoft Entra, the managed identity endpoints and the registry say when they give no token.

Sources: https://learn.microsoft.com/entra/identity-platform/reference-error-codes, answers quoted in issues
of Azure/azure-workload-identity and Azure/acr. The number behind AADSTS is the code; HTTP status and text
vary and decide nothing where there is a number.
"""

from typing import Final

from vreg_shared.providers.azure.registry import (
    FIREWALL,
    FIREWALL_CAUSE,
    FIREWALL_REMEDY,
    ROLE_CAUSE,
    ROLE_REMEDY,
)
from vreg_shared.refusals import REMEDY_CLOCK, RefusalRule

ENTRA: Final = "entra:Token"
IMDS: Final = "imds:Token"
APP_SERVICE: Final = "app_service:Token"
EXCHANGE: Final = "acr:Exchange"
_MACHINE: Final = frozenset({IMDS, APP_SERVICE})

_REMEDY_FEDERATION: Final = (
    "Compare issuer, subject and audience of the federated credential, letter by letter, with vreg's "
    "trust steps. One that was just made takes some minutes to work: vreg asks again by itself."
)
_REMEDY_APPLICATION: Final = (
    "Check client id and tenant id. An application of another tenant must be multi-tenant, and the "
    "registry's tenant needs its service principal: az ad sp create --id CLIENT_ID."
)


def _codes(*numbers: int) -> frozenset[str]:
    return frozenset(f"AADSTS{number}" for number in numbers)


_PASSING: Final = ("temporarily_unavailable", "server_error")
"""OAuth's own words for a fault that passes, where no row knows the number that comes with them."""

_ENTRA: Final = (
    RefusalRule(
        reason="bad_credentials",
        cause="The client secret is wrong; often the secret's id was pasted in place of its value.",
        remedy="Make a new secret for the application and give the identity its value.",
        codes=_codes(7000215),
    ),
    RefusalRule(
        reason="credential_expired",
        cause="The client secret has ended.",
        remedy="Make a new secret for the application and give the identity its value.",
        codes=_codes(7000222),
    ),
    RefusalRule(
        reason="certificate_expired",
        cause="The certificate has ended.",
        remedy="Make a new certificate, give it to the application, and certificate and key to the identity.",
        codes=_codes(700027),
        contains=("key used is expired",),
    ),
    RefusalRule(
        reason="bad_credentials",
        cause="The application does not know the certificate that signed, or the token's signature is wrong.",
        remedy="Give the application the identity's certificate: az ad app credential reset --cert --append.",
        codes=_codes(700027),
    ),
    RefusalRule(
        reason="clock_skew",
        cause="The signed token was not valid when it came: a clock is wrong, or the token file is stale.",
        remedy=f"{REMEDY_CLOCK} If the identity names a token file, look whether the platform renews it.",
        codes=_codes(700024),
    ),
    RefusalRule(
        reason="settings_invalid",
        cause="The application is not known in the tenant: a wrong client id, or the wrong tenant.",
        remedy=_REMEDY_APPLICATION,
        codes=_codes(700016),
    ),
    RefusalRule(
        reason="tenant_unknown",
        cause="There is no such tenant in this cloud.",
        remedy="Check the tenant id, and that the identity's cloud is the registry's.",
        codes=_codes(90002, 900023),
    ),
    RefusalRule(
        reason="federation_config",
        cause="No federated credential of the application fits the token, or it was made only just now.",
        remedy=_REMEDY_FEDERATION,
        codes=_codes(70021, 700211, 700212, 700213),
    ),
    RefusalRule(
        reason="federation_config",
        cause="The token file holds a token of Microsoft Entra itself, which it does not take.",
        remedy="Let the identity use vreg's own issuer or another platform's token.",
        codes=_codes(700222),
    ),
    RefusalRule(
        reason="issuer_unreachable",
        cause="Microsoft Entra cannot fetch the issuer's keys.",
        remedy="Let the issuer's documents be read from the internet, over HTTPS with a public certificate.",
        is_refused=False,
        steps=frozenset({ENTRA}),
        contains=("external oidc endpoint",),
    ),
    RefusalRule(
        reason="permission_denied",
        cause="A conditional access policy stands against it.",
        remedy="Let the policy permit this workload, from the address vreg comes from.",
        codes=_codes(53003),
    ),
    RefusalRule(
        reason="audience_refused",
        cause="The tenant does not know the registry service that the token is asked for.",
        remedy="Use the tenant of the registry's subscription: it knows Azure Container Registry.",
        codes=_codes(500011),
    ),
    RefusalRule(reason="throttled", is_refused=False, codes=_codes(90055, 50196)),
    RefusalRule(reason="upstream_error", is_refused=False, contains=_PASSING),
)

_MANAGED: Final = (
    RefusalRule(
        reason="no_ambient_identity",
        cause="The machine has no such managed identity.",
        remedy="Assign the identity to the machine or app that the token-broker runs in, or correct its id.",
        steps=_MACHINE,
        statuses=frozenset({400}),
        contains=("identity not found", "no user assigned or delegated managed identity"),
    ),
    RefusalRule(
        reason="settings_invalid",
        cause="The machine has several user-assigned identities, and none was named.",
        remedy="Name one in the identity: by client id, object id or resource id.",
        steps=_MACHINE,
        contains=("multiple user assigned identities",),
    ),
    # The service restarts for up to a minute, and says so with 410.
    RefusalRule(reason="upstream_error", is_refused=False, steps=_MACHINE, statuses=frozenset({404, 410})),
)

_REGISTRY: Final = (
    RefusalRule(
        reason="network_firewall",
        cause=FIREWALL_CAUSE,
        remedy=FIREWALL_REMEDY,
        is_refused=False,
        steps=frozenset({EXCHANGE}),
        statuses=frozenset({403}),
        contains=(FIREWALL,),
    ),
    RefusalRule(
        reason="permission_denied",
        cause=ROLE_CAUSE,
        remedy=ROLE_REMEDY,
        steps=frozenset({EXCHANGE}),
        statuses=frozenset({403}),
    ),
    RefusalRule(
        reason="tenant_mismatch",
        cause="The registry does not take a token of this tenant: its subscription belongs to another.",
        remedy="Give the identity the tenant id of the registry's subscription; a managed identity works in "
        "its own tenant only.",
        may_be_skew=True,
        steps=frozenset({EXCHANGE}),
        statuses=frozenset({401}),
    ),
)

REFUSALS: Final = (*_ENTRA, *_MANAGED, *_REGISTRY)
