"""What a cloud must be told of an identity, from its settings alone: secrets play no part in trust."""

from vreg_api.identities.credentials import settings_of
from vreg_api.identities.schemas import TrustStepView, TrustView
from vreg_api.identities.store import Identity
from vreg_api.problems import FieldProblem
from vreg_shared.auth_method import TrustContext
from vreg_shared.catalogue import Catalogue
from vreg_shared.issuer_documents import subject_of
from vreg_shared.operator_grants import OperatorGrants


def trust_of(identity: Identity, catalogue: Catalogue, grants: OperatorGrants) -> TrustView:
    """Return the steps, and what the operator has yet to do before they help."""
    method = settings_of(identity, catalogue.method(identity.method))
    usable_for = catalogue.provider_of_method(method.tag).usable_for
    context = TrustContext(
        identity_name=identity.name,
        external_id=identity.external_id,
        subject=subject_of(identity.id),
        issuer_url=grants.issuer_url,
        usable_for=usable_for.model_validate(identity.usable_for),
    )
    return TrustView(
        subject=context.subject,
        issuer_url=context.issuer_url,
        external_id=context.external_id,
        objections=tuple(
            FieldProblem(field=f"auth_method.{each.field}", code=each.code, message=each.message)
            for each in grants.objections(method)
        ),
        steps=tuple(TrustStepView.model_validate(step) for step in method.trust_steps(context)),
    )
