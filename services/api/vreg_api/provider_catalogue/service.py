"""The catalogue as forms need it: declarations, and what the operator permits of them now."""

from dataclasses import dataclass

from vreg_api.identities.auth_method_forms import example_of
from vreg_api.provider_catalogue.schemas import (
    ExampleView,
    KindView,
    MethodView,
    ProviderCatalogueView,
    ProviderView,
)
from vreg_shared.auth_method import AuthMethod
from vreg_shared.catalogue import Catalogue
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.provider import MethodExample, Provider


@dataclass(frozen=True, slots=True)
class ProviderCatalogue:
    """Answers from declarations alone; no database is asked."""

    catalogue: Catalogue
    grants: OperatorGrants

    def view(self) -> ProviderCatalogueView:
        """Return all of it."""
        return ProviderCatalogueView(
            providers=tuple(self._provider(each) for each in self.catalogue.providers)
        )

    def _provider(self, provider: Provider) -> ProviderView:
        return ProviderView(
            name=provider.name,
            title=provider.title,
            kinds=tuple(KindView.model_validate(kind) for kind in provider.kinds),
            methods=tuple(self._method(provider, method) for method in provider.methods),
            usable_for=provider.usable_for.model_json_schema(),
            reads_documents=provider.read_document is not None,
        )

    def _method(self, provider: Provider, method: type[AuthMethod]) -> MethodView:
        return MethodView(
            method=method.tag,
            title=method.title,
            help=method.help,
            is_ambient=method.is_ambient,
            is_permitted=not method.is_ambient or method.tag in self.grants.ambient_methods,
            form=method.model_json_schema(),
            secret_fields=tuple(sorted(method.secret_fields())),
            examples=tuple(_example(each) for each in provider.examples if type(each.method) is method),
        )


def _example(example: MethodExample) -> ExampleView:
    return ExampleView(
        auth_method=example_of(example.method),
        usable_for=example.usable_for.model_dump(mode="json"),
        kind=example.kind,
        host=example.host,
    )
