"""A small AWS that tests and the demo start from: the user of a broker and the role it may assume."""

from dataclasses import dataclass

from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.policy import Statement, may_assume, may_pull
from tests.clouds.clouds import Clouds

BROKER_ACCOUNT = "999988887777"
ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
REGION = "eu-west-1"
OTHER_REGION = "us-east-1"
EXTERNAL_ID = "an-external-id-made-by-vreg"


@dataclass(frozen=True, slots=True)
class Scene:
    """`key` may assume `role_arn` with the external id and nothing else."""

    key: MadeKey
    role_arn: str
    host: str
    """The registry of ACCOUNT in REGION."""


def set_scene(
    clouds: Clouds,
    *,
    external_id: str | None = EXTERNAL_ID,
    allow: tuple[Statement, ...] = may_pull(),
) -> Scene:
    """Make the user and the role, which may pull everything in its own account."""
    key = clouds.aws.add_user(BROKER_ACCOUNT, "vreg-broker", allow=may_assume("*"))
    role_arn = clouds.aws.add_role(
        ACCOUNT, "vreg-pull", trusts=(key.arn,), external_id=external_id, allow=allow
    )
    return Scene(key, role_arn, clouds.aws.host(ACCOUNT, REGION))
