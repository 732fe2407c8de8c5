"""Problems: what a caller did that we cannot do, as RFC 9457 tells it, with a code that stays the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from vreg_shared.errors import VregError

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:vreg:problem:"


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="The field's path.", examples=["auth_method.role_arn"])
    code: str = Field(examples=["string_pattern_mismatch"])
    message: str = Field(examples=["String should match pattern '^arn:aws…'"])


class UsedBy(BaseModel):
    """Something that still uses what was to be changed or deleted."""

    model_config = ConfigDict(frozen=True)

    noun: str = Field(examples=["upstream"])
    id: str = Field(examples=["01KAS1G6V5X4T3NQ7R8M2C9B0Z"])
    name: str = Field(examples=["production-ecr"])


class Problem(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["urn:vreg:problem:validation_failed"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    code: str = Field(description="Stable: programs may rely on it.", examples=["validation_failed"])
    detail: str = Field(examples=["auth_method.role_arn: String should match pattern '^arn:aws…'"])
    errors: tuple[FieldProblem, ...] | None = None
    used_by: tuple[UsedBy, ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of problem."""

    status: HTTPStatus
    code: str
    title: str


MALFORMED: Final = Case(HTTPStatus.BAD_REQUEST, "malformed_request", "The request cannot be read")
UNAUTHENTICATED: Final = Case(HTTPStatus.UNAUTHORIZED, "unauthenticated", "An access token is needed")
INVALID_TOKEN: Final = Case(HTTPStatus.UNAUTHORIZED, "invalid_token", "The access token is not valid")
TOO_MANY_FAILURES: Final = Case(
    HTTPStatus.TOO_MANY_REQUESTS, "too_many_failures", "Too many access tokens were not valid"
)
FORBIDDEN: Final = Case(HTTPStatus.FORBIDDEN, "forbidden", "The access token does not allow this")
NOT_FOUND: Final = Case(HTTPStatus.NOT_FOUND, "not_found", "There is no such thing")
METHOD_NOT_ALLOWED: Final = Case(
    HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "This cannot be done here"
)
NAME_TAKEN: Final = Case(HTTPStatus.CONFLICT, "name_taken", "The name is taken")
TIMEOUT: Final = Case(HTTPStatus.REQUEST_TIMEOUT, "timeout", "The request took too long")
IN_USE: Final = Case(HTTPStatus.CONFLICT, "in_use", "It is still in use")
LAST_ADMIN: Final = Case(HTTPStatus.CONFLICT, "last_admin", "It is the last admin token")
CONFLICT: Final = Case(HTTPStatus.CONFLICT, "conflict", "It changed at the same time")
VERSION_MISMATCH: Final = Case(HTTPStatus.PRECONDITION_FAILED, "version_mismatch", "It was changed since")
TOO_LARGE: Final = Case(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The request is too large")
UNSUPPORTED_MEDIA_TYPE: Final = Case(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be JSON"
)
INVALID: Final = Case(HTTPStatus.UNPROCESSABLE_ENTITY, "validation_failed", "The request is not valid")
CREDENTIAL_REQUIRED: Final = Case(
    HTTPStatus.UNPROCESSABLE_ENTITY, "credential_required", "The secret must be given again"
)
PRECONDITION_REQUIRED: Final = Case(
    HTTPStatus.PRECONDITION_REQUIRED, "precondition_required", "Say which version is to be changed"
)
INTERNAL: Final = Case(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something went wrong here")
DATABASE_UNAVAILABLE: Final = Case(
    HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", "The database cannot be used now"
)
NO_PROXY_ANSWERS: Final = Case(HTTPStatus.SERVICE_UNAVAILABLE, "no_proxy_answers", "No proxy answers now")
BUSY: Final = Case(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too much of this is under way")

ISSUER_UNAVAILABLE: Final = Case(
    HTTPStatus.SERVICE_UNAVAILABLE, "issuer_unavailable", "The issuer's keys cannot be read now"
)


class ProblemError(VregError):
    """Answer the request with this problem."""

    def __init__(
        self,
        case: Case,
        detail: str,
        errors: tuple[FieldProblem, ...] = (),
        *,
        used_by: tuple[UsedBy, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.case = case
        self.detail = detail
        self.errors = errors
        self.used_by = used_by
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return what the client reads."""
        problem = Problem(
            type=_TYPE_PREFIX + self.case.code,
            title=self.case.title,
            status=self.case.status.value,
            code=self.case.code,
            detail=self.detail,
            errors=self.errors or None,
            used_by=self.used_by or None,
        )
        return problem.model_dump(mode="json", exclude_none=True)


def not_found(noun: str, identifier: str) -> ProblemError:
    """Return the problem that nothing has this id."""
    return ProblemError(NOT_FOUND, f"there is no {noun} {identifier}")


def name_taken(noun: str, field_name: str) -> ProblemError:
    """Return the problem that another of the noun has the name, in whatever case."""
    message = f"another {noun} has this {field_name} already; choose another"
    return ProblemError(NAME_TAKEN, message, (FieldProblem(field=field_name, code="taken", message=message),))


def in_use(noun: str, what: str, used_by: tuple[UsedBy, ...]) -> ProblemError:
    """Return the problem that `what` cannot be done to one of `noun` because of others."""
    names = ", ".join(f"{user.noun} {user.name}" for user in used_by[:10])
    more = f" and {len(used_by) - 10} more" if len(used_by) > 10 else ""  # noqa: PLR2004 - as many as fit a line
    return ProblemError(IN_USE, f"this {noun} cannot be {what}: it is used by {names}{more}", used_by=used_by)


def invalid(field_name: str, code: str, message: str) -> ProblemError:
    """Return the problem of a field whose value cannot be, by itself or beside the others."""
    error = FieldProblem(field=field_name, code=code, message=message)
    return ProblemError(INVALID, f"{field_name}: {message}", (error,))


def credential_required(fields: tuple[str, ...], why: str) -> ProblemError:
    """Return the problem that secrets are sealed to what is to be changed, and we cannot open the seal."""
    errors = tuple(
        FieldProblem(field=name, code="credential_required", message="give the secret again")
        for name in fields
    )
    return ProblemError(CREDENTIAL_REQUIRED, f"{why}: give the secret again in the same request", errors)


def version_mismatch(noun: str) -> ProblemError:
    """Return the problem that the caller looked at another version than there is now."""
    return ProblemError(VERSION_MISMATCH, f"this {noun} was changed since you read it; read it again")
