"""What the machine's platform tells a process of its identity: only what permitted auth methods read."""

from collections.abc import Iterable, Mapping

from vreg_shared.catalogue import Catalogue


def platform_environment(
    catalogue: Catalogue, ambient_methods: Iterable[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return of `environment` the variables that these ambient methods declare; of no methods, none."""
    permitted = frozenset(ambient_methods)
    names = {
        name
        for method in catalogue.methods()
        if method.is_ambient and method.tag in permitted
        for name in method.platform_variables
    }
    return {name: text for name, text in environment.items() if name in names}
