"""The machine that a token-broker runs on in these worlds: an instance and a pod of AWS, both of one role."""

from tests.clouds.aws.policy import may_assume
from tests.clouds.clouds import Clouds
from tests.clouds.scene import BROKER_ACCOUNT

_SERVICES = ("pods.eks.amazonaws.com", "ec2.amazonaws.com")


def machine_role(clouds: Clouds) -> str:
    """Make the machine's role, which may assume whatever trusts it; return its ARN."""
    return clouds.aws.add_role(BROKER_ACCOUNT, "machine", trusts=_SERVICES, allow=may_assume("*"))


def container_on_aws(clouds: Clouds) -> dict[str, str]:
    """Let a pod be of the machine's role; return what the platform tells its processes."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{clouds.local['aws-container']}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": clouds.aws.associate_pod(machine_role(clouds)),
    }


def instance_on_aws(clouds: Clouds) -> dict[str, str]:
    """Let the instance be of the machine's role; return what leads a process to its metadata."""
    clouds.aws.set_instance_role(machine_role(clouds))
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": clouds.local["aws-instance"]}
