"""The watchlist as a matrix in the arena, and the search of one probe in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from appliance.errors import ModelMismatchError
from appliance.ports import Region
from appliance.records.frames import Template
from appliance.records.watchlist import Candidate, Entry

LONGEST_CANDIDATE_LIST = 20


class Gallery:
    """Hold N reference templates of E entries. Thread: match.

    Args:
        entries: In the order of the list; each reference names its row.
        templates: (N, D) float32, unit L2 norm; copied into the arena, the source may then be cleared.
        threshold: Cosine at or above which an entry is a candidate. Nothing below it is ever returned.
        gallery_region: Keeps the matrix until `clear`.
        score_region: Keeps the N scores of one search; zeroed before the search returns.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        templates: npt.NDArray[np.float32],
        *,
        threshold: float,
        gallery_region: Region,
        score_region: Region,
    ) -> None:
        self._entries = tuple(entries)
        self._threshold = threshold
        self._region = gallery_region
        self._score_region = score_region
        self._matrix = _take_float32(gallery_region, templates.shape)
        self._scores = _take_float32(score_region, (templates.shape[0],))
        np.copyto(self._matrix, templates)
        self._entry_of_row = np.full(templates.shape[0], -1, dtype=np.int32)
        for number, entry in enumerate(self._entries):
            for reference in entry.references:
                self._entry_of_row[reference.template_row] = number

    @property
    def threshold(self) -> float:
        """Return the threshold of the authorisation's operating point."""
        return self._threshold

    @property
    def n_references(self) -> int:
        """Return N."""
        return len(self._matrix)

    def search(self, probe_template: Template) -> tuple[Candidate, ...]:
        """Return the entries at or above the threshold, best first; the score of an entry is its best row's.

        Raises:
            ModelMismatchError: The probe has another length than the references.

        Blocks: about N*D multiply-adds.
        """
        if probe_template.shape != (self._matrix.shape[1],):
            raise ModelMismatchError("the probe's template has another length than the gallery's")
        with self._score_region:
            np.dot(self._matrix, probe_template, out=self._scores)
            rows = np.flatnonzero(self._scores >= self._threshold)
            best: dict[int, float] = {}
            for row in rows:
                number = int(self._entry_of_row[row])
                if number >= 0:  # a row that no entry names belongs to nobody
                    best[number] = max(best.get(number, -1.0), float(self._scores[row]))
        ranked = sorted(best.items(), key=lambda item: -item[1])[:LONGEST_CANDIDATE_LIST]
        return tuple(
            Candidate(entry_id=self._entries[number].entry_id, score=score, rank=rank)
            for rank, (number, score) in enumerate(ranked, start=1)
        )

    def clear(self) -> None:
        """Zero every template."""
        self._region.clear()


def _take_float32(region: Region, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    array = region.take(shape, np.float32)
    assert array.dtype == np.float32
    return array.view(np.float32)
