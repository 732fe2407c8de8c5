"""Where a Google identity may be used: projects, in any location."""

from typing import Annotated

from pydantic import Field

from vreg_shared.auth_method import UsableFor
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.gcp.hosts import GarHost, project_of

ProjectId = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)+/)?[a-z][a-z0-9-]{1,61}[a-z0-9]$",
        examples=["my-project", "example.com/my-project"],
    ),
]


class GcpUsableFor(UsableFor):
    """The projects whose images may be read with the identity."""

    projects: Annotated[
        tuple[ProjectId, ...],
        Field(
            title="Projects",
            description="Ids of the projects whose repositories may be read; not their numbers or names.",
            min_length=1,
            max_length=1000,
        ),
    ]

    def permits(self, host: str, repository: str = "") -> bool:
        """Whether `repository` begins with one of the projects and `host` is Google's.

        Hosts name no project, so a repository must be given. S3NS is another cloud: no token goes there.
        """
        try:
            place = GarHost.parse(host)
        except InvalidHostError:
            return False
        return place.is_google and project_of(repository) in self.projects
