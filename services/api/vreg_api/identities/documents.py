"""Which provider reads a document, and the auth method it finds there; the document goes no further."""

from pydantic import ValidationError

from vreg_api.identities.schemas import IdentityImport
from vreg_api.problem_responses import of_validation
from vreg_api.problems import invalid
from vreg_shared.auth_method import AuthMethod
from vreg_shared.catalogue import Catalogue
from vreg_shared.provider import DocumentRefusedError, ForeignDocumentError, Provider


def read_document(catalogue: Catalogue, wish: IdentityImport) -> tuple[Provider, AuthMethod]:
    """Return the first provider that takes the document, and what it found; raise ProblemError.

    Whoever knows the format is heard before those who do not.
    """
    candidates = catalogue.providers if wish.provider is None else (_named(catalogue, wish.provider),)
    foreign = invalid("provider", "reads_no_documents", "has no format for documents; create the identity")
    refusal = None
    for provider in candidates:
        if provider.read_document is None:
            continue
        try:
            return provider, provider.read_document(wish.document.reveal())
        except ForeignDocumentError as error:
            foreign = invalid("document", "document_refused", str(error))
        except DocumentRefusedError as error:
            refusal = refusal or invalid("document", "document_refused", str(error))
        except ValidationError as error:
            refusal = refusal or of_validation(error, below="document")
    raise refusal or foreign


def _named(catalogue: Catalogue, name: str) -> Provider:
    for provider in catalogue.providers:
        if provider.name == name:
            return provider
    raise invalid("provider", "provider_unknown", "there is no provider of this name")
