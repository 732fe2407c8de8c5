"""The token-broker's settings, read once from the environment."""

import platform
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vreg_shared.settings import GrantSettings, Seconds, ServiceSettings


def _name_of_this_machine() -> str:
    name = re.sub(r"[^a-z0-9]+", "-", platform.node().lower()).strip("-")
    return name[:63].strip("-") or "broker"


class BrokerSettings(GrantSettings, ServiceSettings):
    """Settings of `python -m vreg_token_broker`; names begin with VREG_."""

    broker_state: Annotated[
        Path, Field(description="Folder for the audit journal; it must outlive the process.")
    ]
    health_interval: Annotated[
        Seconds,
        Field(
            description="Seconds between two looks at a healthy upstream by a proxy; 0 looks at none.",
            ge=timedelta(),
        ),
    ] = timedelta(seconds=300)
    broker_id: Annotated[
        str,
        Field(
            description="Name of this broker in leases and audit events: lower case, digits and hyphens.",
            pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
            default_factory=_name_of_this_machine,
        ),
    ]
