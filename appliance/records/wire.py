"""Read and write the records that cross a wire or a disk, as JSON, with pydantic's validation.

Bytes are verified before they are parsed, and a record is never serialised again to verify it: keep the
received bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from appliance.errors import RecordError

RecordT = TypeVar("RecordT")
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}  # building one takes milliseconds


def dump_record(record: object) -> bytes:
    """Return the record as JSON bytes; times are RFC 3339 with Z."""
    return _adapter(type(record)).dump_json(record)


def parse_record(kind: type[RecordT], data: bytes, *, limit_bytes: int) -> RecordT:
    """Return the record that `data` holds.

    Args:
        kind: A dataclass of appliance.records.
        data: JSON, at most `limit_bytes` long; the length is checked before anything is parsed.

    Raises:
        RecordError: Too long, not JSON, or a field is missing, unknown, of another type or out of range.
            The message names the field, never its value.
    """
    if len(data) > limit_bytes:
        raise RecordError(f"{kind.__name__}: {len(data)} bytes, {limit_bytes} allowed")
    try:
        record: RecordT = _adapter(kind).validate_json(data, strict=True, extra="forbid")
    except ValidationError as err:
        raise RecordError(f"{kind.__name__}: {_first_problem(err)}") from None  # the cause quotes the value
    return record


def prepare_records(kinds: Iterable[type[object]]) -> None:
    """Build the parsers of records now; the first use would build one on the event loop, in milliseconds."""
    for kind in kinds:
        _adapter(kind)


def schema_of(kind: type[object]) -> dict[str, Any]:
    """Return the JSON Schema of a record, for appliance/schemas/."""
    schema = _adapter(kind).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("type") == "object":
            part["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": kind.__name__, **schema}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    return adapter


def _first_problem(err: ValidationError) -> str:
    problem = err.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "document"
    return f"{where}: {problem['msg']}"
