"""What `docs/asyncapi.yaml` says of events, and how an event differs from it."""

import json
from pathlib import Path
from typing import Any

from vreg_shared.messages.audit import AuditEvent
from vreg_shared.messages.audit_facts import KINDS

DOCS = Path(__file__).parents[2] / "docs"


def document() -> dict[str, Any]:
    text = (DOCS / "asyncapi.yaml").read_text()
    parsed: dict[str, Any] = json.loads(text.partition("\n")[2])
    return parsed


def deviations(event: AuditEvent) -> list[str]:
    """Return how an event differs from what the document says of its kind."""
    kind = KINDS.get(event.type.removeprefix("vreg."))
    if kind is None:
        return [f"{event.type} is not in the document"]
    payload = document()["components"]["messages"][kind.__name__]["payload"]
    data = payload["properties"]["data"]
    said, known, needed = set(event.data), set(data["properties"]), set(data.get("required", ()))
    found = [f"{event.type}: {name} is not in the document" for name in sorted(said - known)]
    found += [f"{event.type}: {name} is missing" for name in sorted(needed - said)]
    if event.writer is not kind.writer:
        found.append(f"{event.type} came from {event.writer}")
    kind.model_validate(event.data)
    return found
