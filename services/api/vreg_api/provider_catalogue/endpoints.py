"""`/provider_catalogue`: what forms for upstreams and identities are made from."""

from fastapi import APIRouter

from vreg_api.provider_catalogue.schemas import ProviderCatalogueView
from vreg_api.provider_catalogue.service import ProviderCatalogue


def router(catalogue: ProviderCatalogue) -> APIRouter:
    """Return the room's endpoint."""
    routes = APIRouter(prefix="/provider_catalogue", tags=["provider_catalogue"])

    @routes.get("")
    async def read_provider_catalogue() -> ProviderCatalogueView:
        """Read every provider's kinds of registry and auth methods, with their forms as JSON Schema."""
        return catalogue.view()

    return routes
