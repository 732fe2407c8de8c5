"""What `make docs` writes of the audit: `asyncapi.yaml`, and the table of kinds in `audit.md`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vreg_shared.messages.audit import STREAM, AuditEvent
from vreg_shared.messages.audit_facts import CATALOGUE, Facts

ASYNCAPI: Final = Path(__file__).parent / "asyncapi.yaml"
PAGE: Final = Path(__file__).parent / "audit.md"
BEGIN: Final = "<!-- kinds: written by make docs -->"
END: Final = "<!-- end of kinds -->"
_HEAD: Final = "# Written by `make docs` from vreg_shared.messages.audit_facts.\n"


def asyncapi() -> str:
    """Return the AsyncAPI 3 document of the event stream; JSON is YAML."""
    messages = {_name(kind): _message(kind) for kind in CATALOGUE}
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "vreg audit events",
            "version": "1",
            "description": "Every exchange with a cloud, change of the configuration and refusal, as "
            "CloudEvents 1.0, each signed (Ed25519) by the service that its source names.",
        },
        "defaultContentType": "application/json",
        "channels": {
            kind.kind: {
                "address": _address(kind),
                "messages": {_name(kind): {"$ref": f"#/components/messages/{_name(kind)}"}},
                "bindings": {"nats": {}},
            }
            for kind in CATALOGUE
        },
        "operations": {
            f"receive{_name(kind)}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{kind.kind.replace('/', '~1')}"},
                "summary": f"Stored in the stream {STREAM}.",
            }
            for kind in CATALOGUE
        },
        "components": {"messages": messages},
    }
    return _HEAD + json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _name(kind: type[Facts]) -> str:
    return kind.__name__


def _address(kind: type[Facts]) -> str:
    return f"vreg.audit.{kind.writer.value}.{kind.kind}"


def _message(kind: type[Facts]) -> Mapping[str, Any]:
    envelope = AuditEvent.model_json_schema()
    properties = envelope["properties"] | {
        "type": {"const": f"vreg.{kind.kind}"},
        "source": {"type": "string", "pattern": f"^vreg/{kind.writer.value}/"},
        "subject": {"type": "string", "description": kind.about},
        "data": _inlined(kind.model_json_schema()),
    }
    return {
        "name": f"vreg.{kind.kind}",
        "title": _name(kind),
        "summary": _summary(kind),
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "properties": properties,
            "required": sorted(properties),
            "additionalProperties": False,
        },
    }


def _inlined(schema: dict[str, Any]) -> object:
    """Return a schema without references, which would point elsewhere here."""
    definitions = schema.pop("$defs", {})

    def resolved(part: object) -> object:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(definitions[part["$ref"].rpartition("/")[2]])
            return {name: resolved(inner) for name, inner in part.items()}
        return [resolved(inner) for inner in part] if isinstance(part, list) else part

    return resolved(schema)


def _summary(kind: type[Facts]) -> str:
    return " ".join((kind.__doc__ or "").split())


def kinds() -> str:
    """Return the table of kinds."""
    rows = [
        f"| `vreg.{kind.kind}` | {kind.writer.value} | {kind.about} | {_summary(kind)} |"
        for kind in CATALOGUE
    ]
    return "\n".join([BEGIN, "| type | writer | subject | means |", "|---|---|---|---|", *rows, END])


def page(present: str) -> str:
    """Return `audit.md` with the table of kinds as it is to be."""
    before, _, rest = present.partition(BEGIN)
    return before + kinds() + rest.partition(END)[2]


def write() -> None:
    """Write both files."""
    ASYNCAPI.write_text(asyncapi(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
