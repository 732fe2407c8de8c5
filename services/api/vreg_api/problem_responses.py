"""How problems leave as answers, whoever noticed them; what a client sent is never repeated to it."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from vreg_api import problems
from vreg_api.problems import Case, FieldProblem, ProblemError
from vreg_api.store.database import ConflictError, DatabaseUnavailableError

_PLACES: Final = frozenset({"body", "query", "header", "path"})
_MAX_FIELD_PART: Final = 64
_MAX_ERRORS: Final = 50
_RETRY_SECONDS: Final = "2"
_log = structlog.get_logger(__name__)


def problem_response(problem: ProblemError) -> Response:
    """Return the answer that tells of a problem."""
    return Response(
        json.dumps(problem.body(), ensure_ascii=False),
        status_code=problem.case.status.value,
        media_type=problems.MEDIA_TYPE,
        headers=dict(problem.headers),
    )


def as_problem(error: Exception) -> ProblemError:
    """Return the problem an exception stands for; what nobody foresaw is internal, and says nothing."""
    match error:
        case ProblemError():
            return error
        case RequestValidationError():
            return _of_request(error.errors())
        case ConflictError():
            return ProblemError(problems.CONFLICT, str(error))
        case DatabaseUnavailableError():
            _log.warning("database_unavailable", reason=str(error))
            detail = "the database cannot be used now; nothing was changed, try again"
            return ProblemError(
                problems.DATABASE_UNAVAILABLE, detail, headers={"Retry-After": _RETRY_SECONDS}
            )
        case HTTPException():
            return _of_http(error)
        case _:
            return ProblemError(problems.INTERNAL, "something went wrong here; the api's log tells what")


def of_validation(error: ValidationError, *, below: str = "") -> ProblemError:
    """Return the problem of a value that was checked by hand; `below` is the field it came from."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return _invalid([{**each, "loc": (below, *each["loc"]) if below else each["loc"]} for each in found])


def install(app: FastAPI) -> None:
    """Let every exception leave `app` as a problem."""
    for kind in (
        ProblemError,
        RequestValidationError,
        ConflictError,
        DatabaseUnavailableError,
        HTTPException,
        Exception,
    ):
        app.add_exception_handler(kind, _answer)


def _answer(_request: Request, error: Exception) -> Response:
    return problem_response(as_problem(error))


def _of_request(errors: Sequence[Any]) -> ProblemError:
    if any(error["loc"][:1] == ("path",) for error in errors):
        return ProblemError(problems.NOT_FOUND, "there is nothing at this address")
    return _invalid(errors)


def _invalid(errors: Sequence[Any]) -> ProblemError:
    found = tuple(
        FieldProblem(field=_field(error["loc"], error["type"]), code=error["type"], message=_message(error))
        for error in errors[:_MAX_ERRORS]
    )
    first = found[0]
    return ProblemError(problems.INVALID, f"{first.field}: {first.message}", found)


def _field(location: Sequence[int | str], code: str) -> str:
    """Return the path a client knows: without the place, and without the names of union members."""
    parts = location[1:] if location and location[0] in _PLACES else location
    named = [str(part)[:_MAX_FIELD_PART] for part in parts if isinstance(part, int) or not _is_tag(part)]
    if code in {"union_tag_invalid", "union_tag_not_found"}:
        named.append("method")
    if code == "unknown_method":
        named += ["auth_method", "method"]
    return ".".join(named) or "body"


def _is_tag(part: str) -> bool:
    """Whether it is an auth method's tag or a provider's: fields have neither dot nor colon, nor '-'."""
    return "." in part or ":" in part


def _message(error: Any) -> str:  # noqa: ANN401 - pydantic's own shape
    if error["type"] == "union_tag_invalid":
        return "there is no such auth method"  # pydantic's text repeats what was sent
    if error["type"] == "union_tag_not_found":
        return "name the auth method"
    return str(error["msg"]).removeprefix("Value error, ")


def _of_http(error: HTTPException) -> ProblemError:
    headers = dict(error.headers or {})
    case, detail = _HTTP.get(error.status_code, (problems.MALFORMED, "the request cannot be read"))
    return ProblemError(case, detail, headers=headers)


_HTTP: Final[dict[int, tuple[Case, str]]] = {
    HTTPStatus.NOT_FOUND: (problems.NOT_FOUND, "there is nothing at this address"),
    HTTPStatus.METHOD_NOT_ALLOWED: (problems.METHOD_NOT_ALLOWED, "see the Allow header for what can be done"),
}
