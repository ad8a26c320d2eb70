"""The plain content of a list: every bound, every byte."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError, AuthorityError, ExpiredError, IntegrityError, RecordError
from appliance.records.watchlist import LARGEST_WATCHLIST, Entry, WatchlistIndex
from appliance.records.wire import dump_record
from appliance.sealing import new_content_key
from appliance.watchlist.content import (
    LARGEST_PORTRAIT_BYTES,
    MAGIC,
    open_content,
    pack_content,
    seal_content,
    unpack_content,
    unpack_pinned,
)
from tests.fakes.clock import START
from tests.fakes.entries import make_entry
from tests.fakes.lists import LENGTH, make_content, make_header, make_reference


def build(
    index: WatchlistIndex, templates: np.ndarray[tuple[int, int], np.dtype[np.float32]], rest: bytes
) -> bytes:
    """Return content as a list maker with other rules would."""
    packed = dump_record(index)
    return MAGIC + struct.pack(">I", len(packed)) + packed + templates.astype("<f4").tobytes() + rest


def open_built(data: bytes) -> None:
    unpack_pinned(data, hashlib.sha256(data).hexdigest(), valid_until=START)


def placed(*entries: Entry, picture_bytes: int = 8) -> WatchlistIndex:
    """Return an index whose entries have one reference each, well placed."""
    return WatchlistIndex(
        entries=tuple(
            replace(
                entry,
                references=(
                    replace(
                        entry.references[0],
                        template_row=row,
                        picture_start_bytes=row * picture_bytes,
                        picture_length_bytes=picture_bytes,
                    ),
                ),
            )
            for row, entry in enumerate(entries)
        )
    )


def rows(n_rows: int, length: int = LENGTH) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.eye(n_rows, length, dtype=np.float32)


NOT_ALWAYS_NEEDED = {"is_under_18", "under_18_approved_by", "ground", "ground_dated_on"}
PICTURE = b"\xff\xd8\xffabcde"


def test_content_comes_back_as_packed() -> None:
    entries = [(make_entry(0), [make_reference(0), make_reference(1)]), (make_entry(1), [make_reference(2)])]
    data = pack_content(entries, LENGTH)
    opened = unpack_content(data, make_header(data))
    assert [entry.name for entry in opened.index.entries] == ["Volunteer 0", "Volunteer 1"]
    assert opened.templates.shape == (3, LENGTH)
    assert opened.templates.dtype == np.float32
    references = [reference for entry in opened.index.entries for reference in entry.references]
    for number, reference in enumerate(references):
        assert opened.picture(reference) == make_reference(number).portrait_jpeg
        np.testing.assert_array_equal(
            opened.templates[reference.template_row], make_reference(number).template
        )


def test_templates_are_a_read_only_aligned_view() -> None:
    data = bytearray(make_content())
    opened = unpack_content(data, make_header(bytes(data)))
    assert np.shares_memory(opened.templates, np.frombuffer(data, dtype=np.uint8))
    assert not opened.templates.flags.writeable
    assert opened.templates.flags.aligned


def test_built_content_is_right_to_begin_with() -> None:
    open_built(build(placed(make_entry(0), make_entry(1)), rows(2), PICTURE * 2))


def test_every_flipped_byte_is_refused() -> None:
    data = make_content()
    header = make_header(data)
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x01
        with pytest.raises(IntegrityError):
            unpack_content(flipped, header)


def test_flipped_byte_with_a_matching_sha256_is_refused_or_opens_whole() -> None:
    data = make_content()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x20
        try:
            opened = unpack_content(flipped, make_header(bytes(flipped)))
        except ApplianceError:
            continue
        for entry in opened.index.entries:
            assert all(opened.picture(reference) for reference in entry.references)


def test_every_cut_is_refused() -> None:
    data = make_content()
    for length in range(len(data)):
        with pytest.raises(RecordError):
            open_built(data[:length])
    with pytest.raises(RecordError):
        open_built(data + b"x")


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_our_error(data: bytes, has_magic: bool) -> None:
    with pytest.raises(RecordError):
        open_built(MAGIC + data if has_magic else data)


def test_index_length_past_the_end_is_refused() -> None:
    with pytest.raises(RecordError, match="index"):
        open_built(MAGIC + b"\xff\xff\xff\xff" + bytes(100))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.002, 0.0, 3e38])
def test_template_that_is_not_of_unit_length_is_refused(value: float) -> None:
    templates = rows(1)
    templates[0, 0] = value
    with pytest.raises(RecordError, match="unit"):
        open_built(build(placed(make_entry(0)), templates, PICTURE))


def test_template_within_tolerance_is_accepted() -> None:
    open_built(build(placed(make_entry(0)), rows(1) * np.float32(1.0009), PICTURE))


def test_list_of_20001_people_is_refused() -> None:
    entry = make_entry(0)
    n_entries = LARGEST_WATCHLIST + 1
    with pytest.raises(RecordError, match="20000"):
        pack_content([(entry, [])] * n_entries, LENGTH)
    # Entries that share one reference's place keep the test small: the number is looked at first.
    with pytest.raises(RecordError, match="20000"):
        open_built(build(WatchlistIndex(entries=(entry,) * n_entries), rows(1), b""))


def test_empty_list_is_refused() -> None:
    with pytest.raises(RecordError, match="entries"):
        open_built(build(WatchlistIndex(entries=()), rows(1), b""))


def test_entry_without_references_is_refused() -> None:
    index = placed(make_entry(0), make_entry(1))
    bare = replace(index.entries[1], references=())
    with pytest.raises(RecordError, match="references"):
        open_built(build(WatchlistIndex(entries=(index.entries[0], bare)), rows(1), PICTURE))


def test_entry_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(RecordError, match="entry_id"):
        open_built(build(placed(make_entry(0), make_entry(0)), rows(2), PICTURE * 2))


@pytest.mark.parametrize(
    ("row", "start", "length"),
    [(0, 8, 8), (2, 8, 8), (-1, 8, 8), (1, 0, 8), (1, 9, 7), (1, 8, -8), (1, 8, 9)],
)
def test_reference_that_points_elsewhere_is_refused(row: int, start: int, length: int) -> None:
    index = placed(make_entry(0), make_entry(1))
    last = index.entries[1]
    moved = replace(
        last.references[0], template_row=row, picture_start_bytes=start, picture_length_bytes=length
    )
    index = WatchlistIndex(entries=(index.entries[0], replace(last, references=(moved,))))
    with pytest.raises(RecordError):
        open_built(build(index, rows(2), PICTURE * 2))


def test_template_that_no_entry_names_is_refused() -> None:
    with pytest.raises(RecordError):
        open_built(build(placed(make_entry(0), make_entry(1)), rows(3, 40), PICTURE * 2))


def test_bytes_that_no_entry_names_are_refused() -> None:
    # a whole template's worth of bytes per reference would read as longer templates
    with pytest.raises(RecordError):
        open_built(build(placed(make_entry(0)), rows(1), PICTURE + bytes(3)))


def test_picture_that_is_no_jpeg_or_too_large_is_refused() -> None:
    with pytest.raises(RecordError, match="JPEG"):
        open_built(build(placed(make_entry(0)), rows(1), b"GIF89abc"))
    n_bytes = LARGEST_PORTRAIT_BYTES + 1
    with pytest.raises(RecordError, match="picture_length_bytes"):
        open_built(
            build(
                placed(make_entry(0), picture_bytes=n_bytes), rows(1), PICTURE + bytes(n_bytes - len(PICTURE))
            )
        )


@pytest.mark.parametrize("length", [31, 1025])
def test_template_length_out_of_range_is_refused(length: int) -> None:
    with pytest.raises(RecordError):
        open_built(build(placed(make_entry(0)), rows(1, length), PICTURE))


def test_entry_that_breaks_the_rules_is_refused() -> None:
    entry = make_entry(0, reviewer="E. Enroller")
    with pytest.raises(AuthorityError, match="reviewer"):
        open_built(build(placed(entry), rows(1), PICTURE))


def test_entry_that_expires_before_its_list_is_refused() -> None:
    data = make_content()
    header = make_header(data, expires_at=START + timedelta(days=2))
    with pytest.raises(ExpiredError, match="expires_at"):
        unpack_content(data, header)
    unpack_content(data, header, valid_until=START)


@pytest.mark.parametrize("changes", [{"n_entries": 3}, {"template_length": 64}])
def test_content_of_another_size_than_signed_is_refused(changes: dict[str, int]) -> None:
    data = make_content()
    with pytest.raises(RecordError, match=next(iter(changes))):
        unpack_content(data, make_header(data, **changes))


def test_unknown_category_is_refused() -> None:
    data = make_content(1).replace(b'"volunteer"', b'"annoying!"')
    with pytest.raises(RecordError, match="category"):
        open_built(data)


@pytest.mark.parametrize("field", sorted(set(Entry.__dataclass_fields__) - NOT_ALWAYS_NEEDED))
def test_entry_with_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(RecordError, match=field):
        open_built(make_content(1).replace(f'"{field}":'.encode(), f'"{field[:-1]}_":'.encode(), 1))


def test_pack_refuses_a_template_of_another_length() -> None:
    with pytest.raises(RecordError, match="template"):
        pack_content([(make_entry(0), [make_reference(length=LENGTH + 1)])], LENGTH)


def test_every_flipped_byte_of_the_sealed_content_is_refused() -> None:
    data, key = make_content(1), new_content_key()
    sealed, sha256 = seal_content(data, key), hashlib.sha256(data).hexdigest()
    assert open_content(sealed, key, sha256) == data
    for place in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[place] ^= 0x01
        with pytest.raises(IntegrityError):
            open_content(bytes(flipped), key, sha256)


def test_sealed_content_opens_for_its_own_sha256_only() -> None:
    data, key = make_content(1), new_content_key()
    with pytest.raises(IntegrityError):
        open_content(seal_content(data, key), key, "0" * 64)
