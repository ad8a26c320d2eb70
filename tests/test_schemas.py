"""Every record on a wire has its schema in the repository, and it is today's."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from pathlib import Path

import pytest

import appliance.records
from appliance.schemas import generate

FOLDER = Path(generate.__file__).parent
# Stay inside one process, or hold arrays: frames and what was measured of them, access, bookkeeping.
NOT_ON_A_WIRE = {
    "frames": {"FrameStamp", "Frame", "PictureSize", "Face"},
    "watchlist": {"Candidate", "EnrolledReference", "ListPacket"},
    "alerts": {"SealedAlert"},
    "alert_format": {"AlertParts"},
    "broker": {"BrokerAccess"},
    "delivery": {"Admission", "PendingDelivery", "OutboxCounts", "AlertHistory"},
}


def records_of_the_house() -> dict[str, set[str]]:
    """Return each module of appliance.records with the dataclasses that it defines."""
    found: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(appliance.records.__path__):
        loaded = importlib.import_module(f"appliance.records.{module.name}")
        found[module.name] = {
            name
            for name, value in vars(loaded).items()
            if dataclasses.is_dataclass(value) and getattr(value, "__module__", "") == loaded.__name__
        }
    return found


def names_in_schemas() -> set[str]:
    """Return the records that have a schema of their own or stand in another's."""
    names: set[str] = set()
    for text in generate.render_schemas().values():
        schema = json.loads(text)
        names |= {schema["title"], *schema.get("$defs", {})}
    return names


def test_schemas_are_those_of_the_records() -> None:
    on_disk = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    assert on_disk == generate.render_schemas(), "run: python -m appliance.schemas.generate"


def test_each_record_has_a_schema_or_is_known_to_need_none() -> None:
    names = names_in_schemas()
    missing = {
        f"{module}.{name}"
        for module, records in records_of_the_house().items()
        for name in records - names - NOT_ON_A_WIRE.get(module, set())
    }
    assert not missing, "add them to WIRE_RECORDS in appliance/schemas/generate.py, or to NOT_ON_A_WIRE"


def test_record_known_to_need_no_schema_exists_and_has_none() -> None:
    records = records_of_the_house()
    for module, names in NOT_ON_A_WIRE.items():
        assert names <= records[module]
        assert not names & names_in_schemas()


@pytest.mark.parametrize("name", sorted(generate.render_schemas()))
def test_schema_allows_no_unknown_field(name: str) -> None:
    schema = json.loads(generate.render_schemas()[name])
    parts = [schema, *schema.get("$defs", {}).values()]
    assert all(part["additionalProperties"] is False for part in parts if part["type"] == "object")


def test_schemas_of_records_that_are_gone_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "Gone.json").write_text("{}")
    generate.write_schemas(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == set(generate.render_schemas())
