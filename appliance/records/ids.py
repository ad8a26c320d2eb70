"""Names of things, as types of their own."""

from __future__ import annotations

from typing import Annotated, NewType

from pydantic import StringConstraints

IdText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Safe in a topic, a file name and a log line."""
PersonText = Annotated[str, StringConstraints(min_length=1, max_length=100)]

ApplianceId = NewType("ApplianceId", IdText)
CameraId = NewType("CameraId", IdText)
ModelId = NewType("ModelId", IdText)
KeyId = NewType("KeyId", IdText)
HandsetId = NewType("HandsetId", IdText)
PersonName = NewType("PersonName", PersonText)
"""A person who holds a key or an office; never a person on a list."""
WatchlistId = NewType("WatchlistId", IdText)
EntryId = NewType("EntryId", IdText)
"""Opaque and random per list: it says nothing about the person."""
AuthorisationId = NewType("AuthorisationId", IdText)
"""Names a deployment as well: one authorisation, one deployment."""
AlertId = NewType("AlertId", IdText)
TrackId = NewType("TrackId", int)
"""Unique within one camera and one worker's life; means nothing outside."""
