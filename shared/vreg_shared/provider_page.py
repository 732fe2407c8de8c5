"""A provider's page of documentation: its hand-written guide, and what its declarations say anyway.

Pure, but for the guide's files, which lie in the provider's folder: `guide/about.md`, and a `guide/<tag>.md`
for each auth method, whose headings begin at level four.
"""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vreg_shared import providers
from vreg_shared.auth_method import AuthMethod
from vreg_shared.errors import VregError
from vreg_shared.provider import Provider, RegistryKind

_EXAMPLE_LIMIT: Final = 80
_AMBIENT: Final = (
    "This method uses the identity of the machine that the token-broker runs on. It is off until the "
    "operator adds `{tag}` to `VREG_AMBIENT_METHODS`."
)
_VERDICTS: Final = (
    "The reason is a stable code: it is in the connection test, in health, and in the audit event of the "
    "exchange. The cloud's own words stand beside it there, and never reach a container client."
)


class MissingGuideError(VregError):
    """A provider's folder lacks a file of its guide; the text names it."""


def page(provider: Provider) -> str:
    """Return the page as Markdown; raise MissingGuideError."""
    parts = [
        f"# {provider.title}",
        guide(provider, "about"),
        "## Registries",
        _table(("Kind", "Registry", "Host", "Auth methods", "Anonymous"), map(_kind_row, provider.kinds)),
        "## Where an identity may be used",
        _fields(provider.usable_for, frozenset()),
        "## Auth methods",
        *(_method(provider, method) for method in provider.methods),
        "## What the connection test says when this is wrong",
        _VERDICTS,
        _table(("What is wrong", "Reason", "What to do"), _causes(provider)),
    ]
    return "\n\n".join(parts) + "\n"


def guide(provider: Provider, name: str) -> str:
    """Return one file of the guide, `about` or a method's tag; raise MissingGuideError."""
    path = files(providers).joinpath(provider.name, "guide", f"{name}.md")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MissingGuideError(f"write {path}: how a person sets {name} up, step by step") from error


def _method(provider: Provider, method: type[AuthMethod]) -> str:
    ambient = [_AMBIENT.format(tag=method.tag)] if method.is_ambient else []
    return "\n\n".join(
        (
            f"### {method.title}: `{method.tag}`",
            method.help,
            *ambient,
            _fields(method, method.secret_fields()),
            guide(provider, method.tag),
        )
    )


def _fields(form: type[BaseModel], secrets: frozenset[str]) -> str:
    fields = ((name, info) for name, info in form.model_fields.items() if name != "method")
    rows = (_field_row(name, info, is_secret=name in secrets) for name, info in fields)
    return _table(("Field", "Meaning", "Needed", "Example"), rows)


def _field_row(name: str, info: FieldInfo, *, is_secret: bool) -> tuple[str, ...]:
    meaning = f"**{info.title}**. {info.description}" + (" Secret: sealed, never shown." if is_secret else "")
    example = _example(info.examples[0]) if info.examples and not is_secret else ""
    return f"`{name}`", meaning, "yes" if info.is_required() else "no", example


def _example(value: object) -> str:
    """Return an example as it is typed; several values of a list one by one."""
    values = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"`{' '.join(str(each).split())[:_EXAMPLE_LIMIT]}`" for each in values)


def _kind_row(kind: RegistryKind) -> tuple[str, ...]:
    methods = ", ".join(f"`{tag}`" for tag in kind.methods)
    return f"`{kind.name}`", kind.title, f"`{kind.example_host}`", methods, "yes" if kind.anonymous else "no"


def _causes(provider: Provider) -> Iterator[tuple[str, ...]]:
    of_iam = [(rule.cause, rule.reason, rule.remedy) for rule in provider.refusals]
    of_registry = [
        (rule.cause, rule.reason, rule.remedy) for kind in provider.kinds for rule in kind.rejections
    ]
    for cause, reason, remedy in dict.fromkeys(of_iam + of_registry):
        if cause:
            yield cause, f"`{reason}`", remedy


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
