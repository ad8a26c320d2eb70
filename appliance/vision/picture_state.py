"""How a camera's picture is, told from statistics in which nobody's face can be seen.

picture_statistics.py says what is looked at, and why nobody can be seen in it. All of it is zeroed after each
frame; only the reference stays: the mean, over many frames, of the slopes of that coarse grid.

Thresholds without another source were chosen on the made films of tests/vision/test_picture_state.py.
"""

from __future__ import annotations

import logging
import zlib

import numpy as np
import numpy.typing as npt

from appliance.ports import Region
from appliance.records.channel import PictureState
from appliance.records.frames import Frame, PictureSize
from appliance.vision.picture_statistics import (
    MOST_BLOCKS,
    MOST_CELLS,
    TINY,
    FrameStatistics,
    GridLayout,
    PictureBench,
    layout_of,
    shaped,
    take_floats,
)

logger = logging.getLogger(__name__)

SAMPLE_INTERVAL_S = 0.25
"""Frames in between are not looked at: every state takes seconds anyway."""
HOLD_S = 10.0
"""How long a picture must look wrong before it is called so: longer than a bus needs to pass."""
RECOVERY = 2.0
"""A second that looks right undoes so many that looked wrong."""
LONGEST_STEP_S = 2.5
"""A longer pause between frames counts as so much: one frame after a loss settles nothing."""
LEARN_S, PROVE_S = 5.0, 10.0
"""How long the reference is averaged, and then how long its blocks must be found again."""
ADAPT_S = 600.0
"""Time constant by which the reference follows the light, in blocks that agree with it."""

LEAST_TEXTURE = 16.0
"""Mean squared slope per cell of a block that can be recognised; noise of 5 levels makes 4."""
LEAST_JUDGED_TEXTURE, LEAST_DETAIL = 4.0, 4.0
LEAST_AGREEMENT = 0.5
"""Normalised correlation of slopes; a shift by 1.5 cells leaves less."""
LEAST_ANCHORS = 4
LOST_S, LOST_SHARE = 5.0, 0.6
"""A block not found again for so long is lost; so many lost ones are a moved camera, after HOLD_S more."""
FOG_RATIO, FOG_SHARE = 0.45, 0.7
BLUR_RATIO, BLUR_SHARE = 0.4, 0.75
SATURATED_LUMA, GLARE_SHARE = 245.0, 0.06
"""Cells so bright that were not so at the start, as a share of the picture."""
DARK_LUMA, DARK_SHARE = 24.0, 0.9

_BY_WEIGHT = (
    PictureState.DARK,
    PictureState.FROZEN,
    PictureState.GLARED,
    PictureState.DEFOCUSED,
    PictureState.FOGGED,
    PictureState.MOVED,
)
"""What is said when several hold: one that explains the others comes first."""


class SceneReference:
    """What a camera's scene looked like, and which blocks of it can be found again: its anchors.

    People who pass average out; blocks that never hold still are no anchors. Thread: gpu.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._all_slopes = take_floats(region, 2 * MOST_CELLS**2)
        self._all_blocks = take_floats(region, 7 * MOST_BLOCKS)
        self.is_known = False
        self._age_s = 0.0
        self._n_learnt = self._n_proved = 0

    def start(self, layout: GridLayout) -> None:
        """Forget, and learn a scene of this layout."""
        self._region.clear()
        self.is_known, self._age_s, self._n_learnt, self._n_proved = False, 0.0, 0, 0
        blocks = (layout.rows // layout.block_cells, layout.columns // layout.block_cells)
        self._slopes = shaped(self._all_slopes, (2, layout.rows, layout.columns))
        parts = shaped(self._all_blocks, (7, *blocks))
        self._texture, self._luma, self._detail, self._n_agreed, self._lost_s, self._weights = parts[:6]
        self._anchors = parts[6]

    def note(self, statistics: FrameStatistics, step_s: float) -> frozenset[PictureState]:
        """Compare a frame that is `step_s` younger than the last; return what it looks like."""
        self._age_s += step_s
        if self._age_s < LEARN_S or not self._n_learnt:
            self._n_learnt += 1
            self._weights.fill(1.0 / self._n_learnt)
            self._adapt_slopes(statistics)
            return frozenset()
        agrees = statistics.agreement_with(self._slopes, self._texture) >= LEAST_AGREEMENT
        if not self.is_known:
            self._prove(statistics, agrees)
            return frozenset()
        # A block without texture now shows neither that it is there nor that it is gone.
        is_gone = ~agrees & (statistics.texture >= LEAST_JUDGED_TEXTURE)
        np.add(self._lost_s, step_s, out=self._lost_s)
        np.multiply(self._lost_s, is_gone, out=self._lost_s)
        looks = self._looks_of(statistics)
        if not looks:
            np.multiply(agrees, step_s / min(self._age_s, ADAPT_S), out=self._weights)
            self._adapt_slopes(statistics)
            self._adapt_levels(statistics)
        return looks

    def _prove(self, statistics: FrameStatistics, agrees: npt.NDArray[np.bool_]) -> None:
        self._n_proved += 1
        np.add(self._n_agreed, agrees, out=self._n_agreed)
        np.multiply(agrees, 1.0 / (self._n_learnt + self._n_proved), out=self._weights)
        self._adapt_slopes(statistics)
        # Levels are of agreeing frames alone: what covered a block while it was learnt must not count.
        np.divide(agrees, np.maximum(self._n_agreed, 1), out=self._weights)
        self._adapt_levels(statistics)
        if self._age_s < LEARN_S + PROVE_S:
            return
        is_anchor = (self._n_agreed >= self._n_proved / 2) & (self._texture >= LEAST_TEXTURE)
        self._anchors[...] = is_anchor
        self.is_known = bool(np.count_nonzero(is_anchor) >= LEAST_ANCHORS)
        if not self.is_known:  # too dark, too plain, or moved meanwhile: once more
            self._age_s, self._n_learnt, self._n_proved = 0.0, 0, 0
            self._n_agreed.fill(0)

    def _adapt_slopes(self, statistics: FrameStatistics) -> None:
        statistics.blend_into(self._slopes, self._weights)
        statistics.sum_blocks(self._slopes, self._slopes, self._texture)

    def _adapt_levels(self, statistics: FrameStatistics) -> None:
        for mean, now in ((self._luma, statistics.luma), (self._detail, statistics.detail)):
            np.add(mean, self._weights * (now - mean), out=mean)

    def _looks_of(self, statistics: FrameStatistics) -> frozenset[PictureState]:
        anchors = self._anchors > 0
        detailed = anchors & (self._detail >= LEAST_DETAIL)
        contrast = np.sqrt(statistics.texture) / (statistics.luma + TINY)
        is_pale = contrast < FOG_RATIO * np.sqrt(self._texture) / (self._luma + TINY)
        # Against the grid's texture, so that light and fog, which take from both, do not count as a blur.
        is_soft = statistics.detail * self._texture < BLUR_RATIO * self._detail * statistics.texture
        votes = {
            PictureState.FOGGED: (is_pale, FOG_SHARE, anchors),
            PictureState.DEFOCUSED: (is_soft, BLUR_SHARE, detailed),
            PictureState.MOVED: (self._lost_s >= LOST_S, LOST_SHARE, anchors),
        }
        return frozenset(
            state
            for state, (blocks, share, voters) in votes.items()
            if np.count_nonzero(voters) >= LEAST_ANCHORS
            and np.count_nonzero(blocks & voters) >= share * np.count_nonzero(voters)
        )


class PictureWatch:
    """Name the state of one camera's picture within 30 s of its beginning. Thread: gpu; time: the frames'.

    Args:
        bench: Shared by all cameras; zero after each frame.
        reference_region: This camera's own; it keeps the reference.
    """

    def __init__(self, *, least_face_width_px: int, bench: PictureBench, reference_region: Region) -> None:
        self._least_face_width_px = least_face_width_px
        self._bench = bench
        self._reference = SceneReference(reference_region)
        self._size: PictureSize | None = None
        self._levels_s = dict.fromkeys(_BY_WEIGHT, 0.0)
        self._is_on = dict.fromkeys(_BY_WEIGHT, False)
        self._seen_s: float | None = None
        self._digest: int | None = None
        self._least_saturated = 1.0
        self.state = PictureState.OK
        self.state_since_s = 0.0

    @property
    def is_scene_known(self) -> bool:
        """Say whether there is a reference that the picture is compared with."""
        return self._reference.is_known

    def note(self, frame: Frame) -> PictureState:
        """Look at a frame and return the state; once it is `moved` it stays so."""
        stamp_s = frame.stamp.captured_monotonic_s
        if self._seen_s is None:
            self._seen_s = self.state_since_s = stamp_s
        elif self.state is PictureState.MOVED or stamp_s - self._seen_s < SAMPLE_INTERVAL_S:
            return self.state
        step_s = min(stamp_s - self._seen_s, LONGEST_STEP_S)
        self._seen_s = stamp_s
        if self._fit(PictureSize(width_px=frame.pixels.shape[1], height_px=frame.pixels.shape[0])):
            with self._bench.region:
                self._statistics.measure(frame.pixels)
                looks = self._looks_of(self._statistics, step_s)
            self._settle(looks, step_s, stamp_s)
        return self.state

    def _fit(self, size: PictureSize) -> bool:
        if size != self._size:
            layout = layout_of(size, self._least_face_width_px)
            if layout is None:
                return False
            # What is sharp depends on the resolution: the scene is learnt anew.
            self._reference.start(layout)
            self._statistics = self._bench.bind(layout)
            self._least_saturated, self._size = 1.0, size
        return True

    def _looks_of(self, statistics: FrameStatistics, step_s: float) -> frozenset[PictureState]:
        looks = set()
        digest = zlib.crc32(statistics.grid.data)
        if digest == self._digest:
            looks.add(PictureState.FROZEN)
        self._digest = digest
        if statistics.share_between(0.0, DARK_LUMA) >= DARK_SHARE:
            looks.add(PictureState.DARK)
            return frozenset(looks)  # noise has no scene in it
        saturated = statistics.share_between(SATURATED_LUMA, 256.0)
        if not self.is_scene_known:
            self._least_saturated = min(self._least_saturated, saturated)
        elif saturated >= self._least_saturated + GLARE_SHARE:
            looks.add(PictureState.GLARED)
        looks |= self._reference.note(statistics, step_s)
        if looks - {PictureState.MOVED, PictureState.FROZEN} or self._is_on[PictureState.FROZEN]:
            looks.discard(PictureState.MOVED)  # something else hides the scene
        return frozenset(looks)

    def _settle(self, looks: frozenset[PictureState], step_s: float, stamp_s: float) -> None:
        for state in _BY_WEIGHT:
            change_s = step_s if state in looks else -RECOVERY * step_s
            level_s = min(max(self._levels_s[state] + change_s, 0.0), HOLD_S)
            self._levels_s[state] = level_s
            self._is_on[state] = level_s >= HOLD_S or (self._is_on[state] and level_s > 0)
        state = next((each for each in _BY_WEIGHT if self._is_on[each]), PictureState.OK)
        if state is not self.state:
            logger.warning("the picture is %s, it was %s", state.value, self.state.value)
            self.state, self.state_since_s = state, stamp_s
