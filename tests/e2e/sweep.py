"""Everything that a vreg on this machine wrote, or was started with, looked through for secrets."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e.stack import Stack
from tests.support.spellings import spellings


def everything(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Yield what vreg left on disk, and with what its processes were started."""
    for path in stack.home.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(stack.home)), path.read_bytes()
    for service, pids in stack.services().items():
        for pid in pids:
            for kind in ("cmdline", "environ"):
                yield f"{service} {kind}", Path(f"/proc/{pid}/{kind}").read_bytes()


def places_of(stack: Stack, secrets: Mapping[str, str]) -> list[str]:
    """Name every place that holds a secret in any spelling."""
    forms = [
        (name, form, text) for name, secret in secrets.items() for form, text in spellings(secret).items()
    ]
    return [
        f"{name} ({form}) in {place}"
        for place, content in everything(stack)
        for name, form, text in forms
        if text in content
    ]
