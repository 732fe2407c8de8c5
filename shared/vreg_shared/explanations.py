"""What reasons mean that no cloud declares: of networks, of the protocol, and of vreg itself.

A provider's own tables come first; these rows are for everything else a connection test or health may say.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is wrong in plain words, and what a person may do about it."""

    cause: str
    remedy: str


EXPLANATIONS: Final[dict[str, Explanation]] = {
    "egress_refused": Explanation(
        "The egress rules do not let a proxy connect to this address.",
        "If the registry is meant to be on a private network, let the operator add its network to "
        "VREG_EGRESS_ALLOWED_CIDRS, or its name to the allow-list of the forward proxy.",
    ),
    "dns_failed": Explanation(
        "The host's name does not resolve where the proxies run.",
        "Correct the host, or mend the proxies' DNS; a private endpoint needs its private zone linked there.",
    ),
    "connection_refused": Explanation(
        "Nothing listens at the host's address and port.",
        "Correct the host's port, or start what should listen there.",
    ),
    "connection_failed": Explanation(
        "The connection was not made, or broke before an answer.",
        "Look for a firewall, security group or network policy between the proxies and the host.",
    ),
    "proxy_unreachable": Explanation(
        "The forward proxy (HTTPS_PROXY) cannot be reached.", "Correct HTTPS_PROXY, or mend that proxy."
    ),
    "proxy_refused": Explanation(
        "The forward proxy refuses to connect to the host.",
        "Let the forward proxy's rules permit the registry, its token endpoint and its storage.",
    ),
    "tls_failed": Explanation(
        "The host's certificate is not trusted, has ended, or is for another name.",
        "Give the upstream the certificate authority as its private CA, or set VREG_CA_BUNDLE; "
        "name the host by its name, not its address.",
    ),
    "timeout": Explanation(
        "No answer came in time.",
        "Look for a firewall that drops packets without a word, and at the load of the registry.",
    ),
    "not_a_registry": Explanation(
        "Something answers there that is no registry.", "Correct the host: `/v2/` must be at its root."
    ),
    "unexpected_answer": Explanation(
        "The answer is not one that a registry gives.",
        "Look at the words beside this: a firewall, a forward proxy or a wrong host may be answering.",
    ),
    "upstream_error": Explanation(
        "The registry answered with an error of its own.", "Try again; look at the provider's status page."
    ),
    "throttled": Explanation(
        "Too many requests were made.",
        "Wait, or ask the provider for a higher limit; an identity often has one.",
    ),
    "storage_error": Explanation(
        "The registry redirects blobs to a storage that refuses them.",
        "Let the network rules permit the storage's host as well as the registry's.",
    ),
    "realm_rejected": Explanation(
        "The registry names a token endpoint that is not on its own host, and the upstream names none.",
        "If that endpoint is the right one, set it as the upstream's token realm; usable_for must name it.",
    ),
    "credential_rejected": Explanation(
        "The registry does not take the credential.",
        "Check that it is still valid there, and that the identity belongs to this registry.",
    ),
    "authentication_required": Explanation(
        "The registry wants to know who asks, and the upstream has no identity.",
        "Give the upstream an identity.",
    ),
    "permission_denied": Explanation(
        "The credential is good, and may not read this repository.",
        "Give the identity the right to read the repository.",
    ),
    "repository_unknown": Explanation(
        "There is no such repository, or the identity may not see it.",
        "Correct the probe, the upstream's repository prefix or its host.",
    ),
    "manifest_unknown": Explanation(
        "The repository has no such tag or digest.", "Name a tag that exists as the probe."
    ),
    "not_found": Explanation(
        "There is nothing of this name.", "Correct the probe, the upstream's repository prefix or its host."
    ),
    "blob_unknown": Explanation(
        "A blob that the manifest names is not in the registry.",
        "Push the image again, or name another probe.",
    ),
    "no_tags": Explanation("The repository has no tags.", "Name an image that exists as the probe."),
    "probe_missing": Explanation(
        "No image was named to be pulled, so it is not proved that any can be.",
        "Name one as the probe, such as team/app:1.2.",
    ),
    "probe_invalid": Explanation(
        "The probe is not the name of an image.", "Write it as team/app, team/app:1.2 or team/app@sha256:…"
    ),
    "private_ca_unreadable": Explanation(
        "The upstream's private CA is not PEM text.", "Paste the authority's certificate, whole."
    ),
    "no_blobs": Explanation("The manifest names no blob, so none was read.", ""),
    "no_proxy": Explanation(
        "No proxy answered, and the test must be made from where pulls are made.",
        "Start a proxy, or see why it cannot reach the bus.",
    ),
    "no_broker": Explanation(
        "No token-broker answered.", "Start a token-broker, or see why it cannot reach the bus."
    ),
    "test_timeout": Explanation("The test was not over in time.", "Look at the last stage that has ended."),
    "cancelled": Explanation("Somebody cancelled the test.", ""),
    "earlier_stage_failed": Explanation("An earlier stage failed, so this one says nothing.", ""),
    "anonymous": Explanation("The upstream has no identity, so there is nothing to prove.", ""),
    "through_forward_proxy": Explanation("The forward proxy resolves names.", ""),
    "not_needed": Explanation("The access token is what this registry takes.", ""),
    "seal_broken": Explanation(
        "The stored secret was sealed for another place, or altered.", "Give the identity its secret again."
    ),
    "settings_invalid": Explanation(
        "The identity's settings are not whole.", "Correct the identity's settings."
    ),
    "audit_unavailable": Explanation(
        "The token-broker's journal cannot be written, and without it nothing is asked of any cloud.",
        "Free space on the token-broker's disk.",
    ),
    "internal_error": Explanation(
        "Something went wrong in vreg itself.", "Look into the logs of token-broker and proxy, and report it."
    ),
}


def remedy_of(reason: str) -> str:
    """Return what to do, or nothing where these rows do not know."""
    found = EXPLANATIONS.get(reason)
    return found.remedy if found is not None else ""
