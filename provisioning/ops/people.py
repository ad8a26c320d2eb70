"""Who is to be enrolled: a folder of pictures for each person, and what an entry needs to be told."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from appliance.errors import RecordError, UsageError
from appliance.records.ids import EntryId, PersonName
from appliance.records.watchlist import Category, Entry
from appliance.watchlist.rules import UNKNOWN_DATE
from provisioning.ops.folder import as_storage_error

LARGEST_CSV_BYTES = 32 << 20
COLUMNS = (
    "folder name category legal_basis case_reference source expires_at enroller reviewer instruction"
    " is_under_18 under_18_approved_by ground ground_dated_on captured_on"
)
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDefaults:
    """What holds for every person whose line does not say otherwise; without a file of lines, for all."""

    enroller: PersonName
    reviewer: PersonName
    expires_at: datetime
    category: Category = Category.VOLUNTEER
    legal_basis: str = "consent in writing"
    source: str = "taken for a test"
    instruction: str = "a volunteer in a test; no action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person to enrol: the folder's name, the pictures in it, and the fields of their line."""

    label: str
    pictures: tuple[Path, ...]
    fields: Mapping[str, str]

    @property
    def captured_on(self) -> str:
        """Return when the pictures were taken, as a date, or `unknown`."""
        return self.fields.get("captured_on") or UNKNOWN_DATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """Something that belongs to no person, and why; it is reported, never passed over."""

    label: str
    reason: str


def read_people(folder: Path, entries_csv: Path | None) -> tuple[list[Person], list[Stray]]:
    """Return who is to be enrolled, sorted by folder, and what was found beside them.

    Args:
        folder: Holds a folder of pictures for each person.
        entries_csv: A line for each person with the columns of COLUMNS; `folder` names theirs.

    Raises:
        UsageError: There is no such folder or file.
        RecordError: The file of lines has an unknown column, or two lines for one folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    with as_storage_error(folder):
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        pictures = {path.name: _pictures(path) for path in found if path.is_dir()}
    strays = [
        Stray(label=path.name, reason="not in a person's folder")
        for path in found
        if not path.is_dir() and (entries_csv is None or path.resolve() != entries_csv.resolve())
    ]
    if entries_csv is None:
        return [Person(label=name, pictures=each, fields={}) for name, each in pictures.items()], strays
    lines = _read_lines(entries_csv)
    strays += [Stray(label=name, reason="no such folder") for name in lines if name not in pictures]
    strays += [
        Stray(label=name, reason="no line in the file of entries") for name in pictures if name not in lines
    ]
    people = [
        Person(label=name, pictures=each, fields=lines[name])
        for name, each in pictures.items()
        if name in lines
    ]
    return people, strays


def make_entry(person: Person, defaults: EntryDefaults, entry_id: EntryId) -> Entry:
    """Return a person's entry, without references; RecordError names the field that is wrong."""
    fields = person.fields
    return Entry(
        entry_id=entry_id,
        name=fields.get("name") or person.label,
        category=_category(fields.get("category"), defaults.category),
        legal_basis=fields.get("legal_basis") or defaults.legal_basis,
        case_reference=fields.get("case_reference") or person.label,
        source=fields.get("source") or defaults.source,
        expires_at=_time(fields.get("expires_at"), defaults.expires_at),
        enroller=PersonName(fields.get("enroller") or defaults.enroller),
        reviewer=PersonName(fields.get("reviewer") or defaults.reviewer),
        instruction=fields.get("instruction") or defaults.instruction,
        references=(),
        is_under_18=_flag(fields.get("is_under_18", "")),
        under_18_approved_by=_person(fields.get("under_18_approved_by")),
        ground=fields.get("ground") or None,
        ground_dated_on=fields.get("ground_dated_on") or None,
    )


def parse_time(text: str) -> datetime:
    """Return the aware time that RFC 3339 text means; RecordError when it is not one."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise RecordError("not a time such as 2026-12-31T18:00:00Z") from None
    if time.tzinfo is None:
        raise RecordError("a time needs its zone, such as 2026-12-31T18:00:00Z")
    return time.astimezone(timezone.utc)


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.iterdir() if not path.name.startswith(".")))


def _read_lines(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    if path.stat().st_size > LARGEST_CSV_BYTES:
        raise RecordError(f"{path.name}: larger than {LARGEST_CSV_BYTES >> 20} MiB")
    lines: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in _rows(file):
                if None in line or None in line.values():
                    raise RecordError(f"{path.name}: line {number}: not as many fields as columns")
                label = line.pop("folder", "")
                if not label or label in lines:
                    raise RecordError(f"{path.name}: line {number}: folder: missing, or there twice")
                lines[label] = {key: value.strip() for key, value in line.items()}
    except (UnicodeDecodeError, csv.Error) as err:
        raise RecordError(f"{path.name}: not a CSV file in UTF-8") from err
    return lines


def _rows(file: Iterator[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file, strict=True)
    unknown = sorted(set(reader.fieldnames or ()) - set(COLUMNS.split()))
    if unknown:
        raise RecordError(f"{unknown[0]}: unknown column")
    for line in reader:
        yield reader.line_num, line


def _category(text: str | None, default: Category) -> Category:
    if not text:
        return default
    try:
        return Category(text)
    except ValueError:
        raise RecordError(f"category: not one of {', '.join(Category)}") from None


def _time(text: str | None, default: datetime) -> datetime:
    if not text:
        return default
    try:
        return parse_time(text)
    except RecordError as err:
        raise RecordError(f"expires_at: {err}") from None


def _flag(text: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise RecordError("is_under_18: neither yes nor no") from None


def _person(text: str | None) -> PersonName | None:
    return PersonName(text) if text else None
