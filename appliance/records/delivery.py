"""What the outbox says of the alerts that it keeps; none of these crosses a wire."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.compat import StrEnum
from appliance.records.alerts import Adjudication, Receipt
from appliance.records.ids import AlertId, HandsetId
from appliance.records.times import UtcTime


class AdmissionRefusal(StrEnum):
    """Why an alert was not taken in."""

    COOL_DOWN = "cool_down"
    ALREADY_THERE = "already_there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether the outbox took an alert in: its sequence number, or why it did not."""

    sequence: int | None
    refusal: AdmissionRefusal | None

    @property
    def is_admitted(self) -> bool:
        """Say whether the alert is now on disk, on its way to its recipients."""
        return self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDelivery:
    """An alert that one handset has not yet given its receipt for."""

    alert_id: AlertId
    handset_id: HandsetId
    sequence: int
    expires_at: UtcTime
    n_sent: int


class Recorded(StrEnum):
    """What came of a receipt or an adjudication."""

    NEW = "new"
    REPEATED = "repeated"
    CONFLICTING = "conflicting"
    """An adjudication unlike the one already given; the first one stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """How many alerts and deliveries are in which state, of all deployments not yet forgotten."""

    n_alerts: int
    n_pending_alerts: int
    n_pending_deliveries: int
    n_receipts: int
    n_adjudications: int
    n_expired_alerts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHistory:
    """What became of one alert; who gave which receipt and decision."""

    alert_id: AlertId
    sequence: int
    receipts: tuple[Receipt, ...]
    adjudications: tuple[Adjudication, ...]
