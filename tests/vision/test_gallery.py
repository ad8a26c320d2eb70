from __future__ import annotations

import numpy as np
import pytest

from appliance.errors import ModelMismatchError
from appliance.vision.gallery import Gallery
from tests.fakes.entries import make_entry
from tests.fakes.networks import unit
from tests.fakes.region import FakeRegion


def make_gallery(threshold: float = 0.5) -> tuple[Gallery, FakeRegion, FakeRegion]:
    gallery_region, score_region = FakeRegion(), FakeRegion()
    templates = np.stack([unit(1.0), unit(0.0, 1.0), unit(0.6, 0.8)])
    gallery = Gallery(
        [make_entry(0), make_entry(1), make_entry(2)],
        templates,
        threshold=threshold,
        gallery_region=gallery_region,
        score_region=score_region,
    )
    return gallery, gallery_region, score_region


def test_candidates_come_best_first_with_their_cosine() -> None:
    gallery, _, _ = make_gallery()
    found = gallery.search(unit(1.0))
    assert [(one.entry_id, one.rank) for one in found] == [("entry-0", 1), ("entry-2", 2)]
    assert [one.score for one in found] == pytest.approx([1.0, 0.6], abs=1e-6)


def test_nothing_below_the_threshold_is_returned() -> None:
    gallery, _, _ = make_gallery(threshold=0.61)
    assert [one.entry_id for one in gallery.search(unit(1.0))] == ["entry-0"]


def test_a_score_equal_to_the_threshold_is_a_candidate() -> None:
    gallery, _, _ = make_gallery(threshold=1.0)
    assert [one.entry_id for one in gallery.search(unit(0.0, 1.0))] == ["entry-1"]


def test_scores_are_wiped_after_each_search() -> None:
    gallery, _, score_region = make_gallery()
    gallery.search(unit(1.0))
    assert score_region.n_clears == 1
    assert not any(array.any() for array in score_region.arrays)


def test_clear_zeroes_every_template() -> None:
    gallery, gallery_region, _ = make_gallery()
    assert gallery_region.arrays[0].any()
    gallery.clear()
    assert not gallery_region.arrays[0].any()


def test_a_template_of_another_length_is_refused() -> None:
    gallery, _, _ = make_gallery()
    with pytest.raises(ModelMismatchError):
        gallery.search(np.ones(4, dtype=np.float32))
