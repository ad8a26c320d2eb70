"""Write the JSON Schema of each record on a wire or a disk: `python -m appliance.schemas.generate`."""

from __future__ import annotations

import json
from pathlib import Path

from appliance.envelope import Envelope
from appliance.records import alerts, channel, deployment, health, watchlist
from appliance.records.wire import schema_of

WIRE_RECORDS: tuple[type[object], ...] = (
    Envelope,
    alerts.AlertHeader,
    alerts.AlertDetail,
    alerts.Receipt,
    alerts.Adjudication,
    deployment.AppliancePublic,
    deployment.Authorisation,
    deployment.Recipient,
    deployment.Trust,
    watchlist.WrappedListKey,
    watchlist.WatchlistHeader,
    watchlist.WatchlistIndex,
    health.HealthRecord,
    *channel.CHANNEL_RECORDS,
)


def render_schemas() -> dict[str, str]:
    """Return each schema file's name and text."""
    return {
        f"{kind.__name__}.json": json.dumps(schema_of(kind), indent=2, sort_keys=True) + "\n"
        for kind in WIRE_RECORDS
    }


def write_schemas(folder: Path) -> None:
    """Write all schemas into `folder`, and delete those of records that are gone."""
    files = render_schemas()
    for old in folder.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(__file__).parent)
