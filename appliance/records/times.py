"""Times on the wire: aware, UTC, RFC 3339 with Z."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _as_utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc)


UtcTime = Annotated[AwareDatetime, AfterValidator(_as_utc)]
