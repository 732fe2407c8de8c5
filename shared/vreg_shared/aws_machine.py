"""A machine on AWS, for all who begin with its role: what tells a process of it, and the answers without one.

`CONTAINER` is the endpoint of a pod or task, the other two are what an instance's metadata is asked in turn.
"""

from typing import Final

from vreg_shared.refusals import RefusalRule

CONTAINER: Final = "container credentials"
INSTANCE_SESSION: Final = "instance metadata session"
INSTANCE_ROLE: Final = "instance role"
CONTAINER_VARIABLES: Final = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
INSTANCE_VARIABLES: Final = (
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
)

REFUSALS: Final = (
    RefusalRule(
        reason="no_ambient_identity",
        steps=frozenset({CONTAINER}),
        statuses=frozenset({400, 401, 403, 404}),
        cause="AWS gives the token-broker's pod or task no role.",
        remedy="Make the Pod Identity association for its service account, or set the task role; restart the "
        "token-broker afterwards, for the platform tells only new pods and tasks.",
    ),
    RefusalRule(
        reason="no_ambient_identity",
        steps=frozenset({INSTANCE_SESSION}),
        statuses=frozenset({403, 404, 405}),
        cause="The EC2 instance's metadata service is switched off, or does not speak version 2.",
        remedy="Enable the service: aws ec2 modify-instance-metadata-options --http-endpoint enabled "
        "--http-tokens required --http-put-response-hop-limit 2. vreg never uses version 1.",
    ),
    RefusalRule(
        reason="no_ambient_identity",
        steps=frozenset({INSTANCE_ROLE}),
        statuses=frozenset({404}),
        cause="The EC2 instance has no role.",
        remedy="Give the instance an instance profile with the role that the trust steps show.",
    ),
    RefusalRule(
        reason="permission_denied",
        steps=frozenset({INSTANCE_ROLE}),
        codes=frozenset({"AssumeRoleUnauthorizedAccess"}),
        cause="The EC2 instance's role does not trust EC2.",
        remedy="Let the role's trust policy allow sts:AssumeRole to the service ec2.amazonaws.com (in China "
        "ec2.amazonaws.com.cn).",
    ),
)
