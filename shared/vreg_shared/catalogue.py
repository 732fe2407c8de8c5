"""Every provider there is, found by looking into the `providers` folder."""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache

from vreg_shared import providers
from vreg_shared.auth_method import AuthMethod
from vreg_shared.errors import VregError
from vreg_shared.provider import Provider, RegistryKind


class CatalogueError(VregError):
    """A provider folder exports no `PROVIDER`, or a name is used twice: mend the folder."""


class UnknownKindError(VregError):
    """No provider declares this kind of registry."""


class UnknownMethodError(VregError):
    """No provider declares this auth method."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The declared providers and what they offer, by name."""

    providers: tuple[Provider, ...]

    def kinds(self) -> tuple[RegistryKind, ...]:
        """Return every kind of registry."""
        return tuple(kind for provider in self.providers for kind in provider.kinds)

    def methods(self) -> tuple[type[AuthMethod], ...]:
        """Return every auth method."""
        return tuple(method for provider in self.providers for method in provider.methods)

    def kind(self, name: str) -> RegistryKind:
        """Return the kind of this name; raise UnknownKindError."""
        for kind in self.kinds():
            if kind.name == name:
                return kind
        raise UnknownKindError(f"there is no registry kind {name!r}")

    def kind_owning(self, host: str) -> RegistryKind | None:
        """Return the kind whose own grammar knows this lower-case host, or None if only generic ones do."""
        return next((kind for kind in self.kinds() if not kind.is_generic and kind.owns(host)), None)

    def method(self, tag: str) -> type[AuthMethod]:
        """Return the auth method of this tag; raise UnknownMethodError."""
        for method in self.methods():
            if method.tag == tag:
                return method
        raise UnknownMethodError(f"there is no auth method {tag!r}")

    def provider_of_kind(self, name: str) -> Provider:
        """Return the provider that declares this kind; raise UnknownKindError."""
        kind = self.kind(name)
        return next(provider for provider in self.providers if kind in provider.kinds)

    def provider_of_method(self, tag: str) -> Provider:
        """Return the provider that declares this auth method; raise UnknownMethodError."""
        method = self.method(tag)
        return next(provider for provider in self.providers if method in provider.methods)


@cache
def catalogue() -> Catalogue:
    """Read the folder once; raise CatalogueError when it does not hold together."""
    found = tuple(_provider(name) for name in sorted(_folder_names()))
    result = Catalogue(found)
    names = [provider.name for provider in found]
    kinds = [kind.name for kind in result.kinds()]
    tags = [method.tag for method in result.methods()]
    for words in (names, kinds, tags):
        twice = {word for word in words if words.count(word) > 1}
        if twice:
            raise CatalogueError(f"declared twice: {', '.join(sorted(twice))}")
    return result


def _folder_names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(providers.__path__) if module.ispkg]


def _provider(name: str) -> Provider:
    module = importlib.import_module(f"{providers.__name__}.{name}")
    provider = getattr(module, "PROVIDER", None)
    if not isinstance(provider, Provider) or provider.name != name:
        raise CatalogueError(f"providers/{name} must export PROVIDER, named {name!r}")
    return provider
