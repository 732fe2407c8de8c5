"""A user name and a password, as Docker Hub, Harbor, Quay, GHCR and GitLab take them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vreg_shared.auth_method import AuthMethod
from vreg_shared.secret import Secret


class Password(AuthMethod):
    """A robot account, deploy token or personal access token."""

    tag: ClassVar[str] = "basic.password"
    title: ClassVar[str] = "User name and password"
    help: ClassVar[str] = (
        "A robot account (Harbor, Quay), deploy token (GitLab) or personal access token (Docker Hub, GHCR) "
        "that may only read."
    )

    method: Literal["basic.password"] = "basic.password"
    username: Annotated[
        str,
        Field(
            title="User name",
            description="Without ':', which Basic authentication cannot carry.",
            examples=["robot$vreg"],
            pattern=r"^[^\x00-\x1f\x7f:]{1,255}$",
        ),
    ]
    password: Annotated[
        Secret, Field(title="Password or token", description="It is sealed at once and never shown again.")
    ]
