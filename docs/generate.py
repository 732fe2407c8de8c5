"""Writes the pages that follow from declarations; `make docs` runs it."""

import sys
from pathlib import Path
from typing import Final

from vreg_shared.catalogue import Catalogue, catalogue
from vreg_shared.explanations import EXPLANATIONS
from vreg_shared.messages.connection_test import STAGE_MEANINGS
from vreg_shared.provider_page import page

FOLDER: Final = Path(__file__).parent / "providers"
_HEAD: Final = """# Providers

One page a cloud or family of registries: hosts, auth methods, set-up step by step, and what a failed
connection test means. They are written by `make docs` from the providers' own folders.
"""

_TEST_PAGE: Final = """# The connection test

It tries an upstream as a pull would, stage by stage, and says of the first stage that fails what is wrong
and what to do. It works on what is saved, on what a change would make of it, and on what is not saved at
all; a secret that is only tried is sealed to the token-broker and stored nowhere.

    vreg test production-ecr --probe team/app:1.2
    curl -X POST "$VREG_API/api/v1/connection_tests" -H "Authorization: Bearer $VREG_API_TOKEN" \\
      -H "Content-Type: application/json" -d '{{"upstream_id": "…", "probe": "team/app:1.2"}}'

The answer names the test; `GET /api/v1/connection_tests/{{id}}/events` streams its stages, `GET
/api/v1/connection_tests/{{id}}` shows them afterwards, for thirty days, and `POST …/cancel` ends it. A test
*passes* only if an image was read. It is *incomplete* when all is well and no image was named: give the
upstream a `probe`, or name one in the test.

## Stages

Stages towards the registry are tried by a proxy, since its network is what counts; those in between by
the token-broker. A host that cannot be reached does not keep the exchange from being tried: both may be
wrong.

| Stage | What is tried |
| --- | --- |
{stages}

## Reasons

Codes are stable. What clouds and registries themselves say is in the tables of
[the providers](providers/README.md), which come first; these are all the others.

| Reason | What is wrong | What to do |
| --- | --- | --- |
{reasons}
"""


def pages(of: Catalogue) -> dict[str, str]:
    """Return the text of every file, by its name."""
    lines = [
        f"- [{provider.title}]({provider.name}.md): {', '.join(kind.title for kind in provider.kinds)}"
        for provider in of.providers
    ]
    index = _HEAD + "\n" + "\n".join(lines) + "\n"
    return {"README.md": index} | {f"{provider.name}.md": page(provider) for provider in of.providers}


def connection_test_page() -> str:
    """Return the page on connection tests."""
    stages = "\n".join(f"| `{stage.value}` | {meaning} |" for stage, meaning in STAGE_MEANINGS.items())
    reasons = "\n".join(
        f"| `{reason}` | {found.cause} | {found.remedy} |" for reason, found in EXPLANATIONS.items()
    )
    return _TEST_PAGE.format(stages=stages, reasons=reasons)


def write(folder: Path) -> None:
    """Write every page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(catalogue()).items():
        (folder / name).write_text(text, encoding="utf-8")


def write_connection_test_page() -> None:
    """Write the page on connection tests beside the folder of providers."""
    (FOLDER.parent / "connection-test.md").write_text(connection_test_page(), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
    else:
        write(FOLDER)
        write_connection_test_page()
