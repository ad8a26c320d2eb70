"""From folders of pictures to a drafted list: who was enrolled, who was refused and why."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from appliance.envelope import sign_payload
from appliance.errors import AuthorityError, EnrolmentError, RecordError, UsageError
from appliance.ports import Clock
from appliance.records.frames import Pixels
from appliance.records.ids import EntryId, ModelId, WatchlistId
from appliance.records.watchlist import (
    LARGEST_WATCHLIST,
    EnrolledReference,
    Entry,
    Reference,
    WatchlistHeader,
)
from appliance.records.wire import dump_record
from appliance.watchlist.acceptance import PAYLOAD_WATCHLIST, check_header
from appliance.watchlist.content import pack_content, seal_content
from appliance.watchlist.enrolment import Enroller, PictureToEnrol, RefusedPicture
from appliance.watchlist.rules import check_entry
from provisioning.ops.folder import OpsFolder, draft_key_id
from provisioning.ops.people import EntryDefaults, Person, make_entry, read_people

logger = logging.getLogger(__name__)
ReadPicture = Callable[[Path], Pixels]
Progress = Callable[[int, int], None]
LONGEST_LIFE = timedelta(days=31)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledPerson:
    """Somebody who is on the list; `label` is the folder's name, `least_quality` the worst reference's."""

    label: str
    entry_id: EntryId
    n_references: int
    least_quality: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentReport:
    """What became of every folder and every file: each is enrolled, or refused with its reason."""

    version: int
    content_sha256: str
    expires_at: datetime
    enrolled: tuple[EnrolledPerson, ...]
    refused_people: tuple[RefusedPicture, ...]
    refused_pictures: tuple[RefusedPicture, ...]


def enrol_folder(
    ops: OpsFolder,
    pictures: Path,
    *,
    clock: Clock,
    enroller: Enroller,
    read_picture: ReadPicture,
    model_id: ModelId,
    template_length: int,
    defaults: EntryDefaults,
    entries_csv: Path | None = None,
    progress: Progress = lambda n_done, n_all: None,
) -> EnrolmentReport:
    """Enrol everybody in a folder into a new list of ops, to be signed.

    Args:
        pictures: A folder of pictures for each person.
        model_id: The embedder's; `template_length` is its D.
        defaults: For fields that no line tells; `expires_at` is the list's end too, or the earliest entry's
            if that comes sooner.
        entries_csv: A line for each person; see provisioning.ops.people.
        progress: Told after each person.

    Raises:
        EnrolmentError: Nobody could be enrolled; the message has the first reason.
        RecordError: More people than a list may have.
    """
    now = clock.now()
    if not now < defaults.expires_at <= now + LONGEST_LIFE:
        raise UsageError(f"a list lives from now on, {LONGEST_LIFE.days} days at most")
    people, strays = read_people(pictures, entries_csv)
    if len(people) > LARGEST_WATCHLIST:
        raise RecordError(f"{len(people)} people, {LARGEST_WATCHLIST} allowed on a list")
    enrolment = _Enrolment(enroller, read_picture, defaults, now)
    for n_done, person in enumerate(people, start=1):
        enrolment.add(person)
        progress(n_done, len(people))
    refused = (*enrolment.refused, *(RefusedPicture(label=each.label, reason=each.reason) for each in strays))
    if not enrolment.entries:
        first = f"; {refused[0].label}: {refused[0].reason}" if refused else ""
        raise EnrolmentError(f"{pictures}: nobody could be enrolled{first}")
    header = _draft(ops, enrolment.entries, now, defaults.expires_at, model_id, template_length)
    return EnrolmentReport(
        version=header.version,
        content_sha256=header.content_sha256,
        expires_at=header.expires_at,
        enrolled=tuple(enrolment.enrolled),
        refused_people=refused,
        refused_pictures=tuple(enrolment.refused_pictures),
    )


class _Enrolment:
    def __init__(
        self, enroller: Enroller, read_picture: ReadPicture, defaults: EntryDefaults, now: datetime
    ) -> None:
        self._enroller, self._read_picture = enroller, read_picture
        self._defaults, self._now = defaults, now
        self.entries: list[tuple[Entry, Sequence[EnrolledReference]]] = []
        self.enrolled: list[EnrolledPerson] = []
        self.refused: list[RefusedPicture] = []
        self.refused_pictures: list[RefusedPicture] = []

    def add(self, person: Person) -> None:
        try:
            self._add(person)
        except (RecordError, AuthorityError, EnrolmentError) as err:
            self.refused.append(RefusedPicture(label=person.label, reason=str(err)))

    def _add(self, person: Person) -> None:
        entry_id = EntryId(secrets.token_hex(8))
        entry = make_entry(person, self._defaults, entry_id)
        # Before the networks: a line that may not stand is refused at once.
        check_entry(replace(entry, references=(_placeholder(person),)), valid_until=self._now)
        if not person.pictures:
            raise EnrolmentError("no picture in the folder")
        result = self._enroller.enrol_pictures(
            [
                PictureToEnrol(
                    label=f"{person.label}/{path.name}",
                    read=lambda path=path: self._read_picture(path),  # type: ignore[misc]  # bound now
                    captured_on=person.captured_on,
                )
                for path in person.pictures
            ]
        )
        self.refused_pictures.extend(result.refused)
        if not result.references:
            raise EnrolmentError(f"no usable picture: {result.refused[0].reason}")
        self.entries.append((entry, result.references))
        self.enrolled.append(
            EnrolledPerson(
                label=person.label,
                entry_id=entry_id,
                n_references=len(result.references),
                least_quality=min(reference.quality for reference in result.references),
            )
        )


def _draft(
    ops: OpsFolder,
    entries: Sequence[tuple[Entry, Sequence[EnrolledReference]]],
    now: datetime,
    expires_at: datetime,
    model_id: ModelId,
    template_length: int,
) -> WatchlistHeader:
    content = pack_content(entries, template_length)
    with ops.locked():
        state = ops.state
        version = state.next_version
        ops.save_state(replace(state, next_version=version + 1))  # first: a number is never used twice
        header = WatchlistHeader(
            watchlist_id=WatchlistId("list-" + secrets.token_hex(8)),
            version=version,
            issued_at=now,
            expires_at=min(expires_at, *(entry.expires_at for entry, _ in entries)),
            model_id=model_id,
            template_length=template_length,
            n_entries=len(entries),
            content_sha256=hashlib.sha256(content).hexdigest(),
        )
        check_header(header)
        ops.add_list(
            version,
            header=sign_payload(PAYLOAD_WATCHLIST, dump_record(header), ()),
            content=seal_content(content, ops.keys.create(draft_key_id(version))),
        )
    logger.info("drafted list version %d", version)
    return header


def _placeholder(person: Person) -> Reference:
    return Reference(
        template_row=0,
        picture_start_bytes=0,
        picture_length_bytes=0,
        captured_on=person.captured_on,
        quality=0,
    )
