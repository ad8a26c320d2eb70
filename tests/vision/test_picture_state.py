"""What is wrong with a picture is named within 30 s, on made films; people, light and noise are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from appliance.app.vision_process import CAMERA_BYTES, OTHER_BYTES
from appliance.records.channel import PictureState
from appliance.records.frames import Frame, FrameStamp, PictureSize, Pixels
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.counts import CameraWatch, Counts
from appliance.vision.gate import SizeGate
from appliance.vision.picture_state import LEARN_S, PROVE_S, PictureWatch
from appliance.vision.picture_statistics import MOST_CELLS, GridLayout, PictureBench, layout_of
from appliance.vision.work import HeldFrame, TemplateBench
from drivers.arena import Arena
from tests.fakes.clock import START
from tests.fakes.house import CAMERA
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face, unit
from tests.fakes.region import FakeRegion

Luma = npt.NDArray[np.float32]
Film = Callable[[float], Luma]
WIDTH, HEIGHT, LEAST_FACE_PX, RATE_HZ = 640, 360, 20, 2
FAULT_S, END_S = 24.0, 56.0
"""The fault begins when the scene is long known; it must be named 30 s later, before the end."""


def make_scene(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Luma:
    """Return a street that nobody ever saw: texture with the spectrum of photographs, and some walls."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    waves = random.normal(size=frequency.shape) + 1j * random.normal(size=frequency.shape)
    scene = np.fft.irfft2(waves / frequency**1.3, (height, width))
    scene = (scene - scene.mean()) / scene.std() * 22 + 115
    for _ in range(60):
        x, y = random.integers(0, width), random.integers(0, height)
        scene[y : y + random.integers(8, 72), x : x + random.integers(8, 80)] += random.normal() * 32
    drawn: Luma = np.clip(scene, 10, 240).astype(np.float32)
    return drawn


def with_crowd(scene: Luma, at_s: float, n_people: int, speed: float = 0.15) -> Luma:
    """Draw people who walk to and fro, a third to a half of the picture tall."""
    random = np.random.default_rng(5)
    picture: Luma = scene.copy()
    height, width = scene.shape
    for _ in range(n_people):
        start, pace, foot = random.uniform(0, 1.3), random.uniform(0.6, 1.4), random.uniform(0.6, 1.05)
        coat, skin, stripe = random.uniform(30, 220), random.uniform(90, 200), random.integers(0, 40)
        way, tall = random.choice([-1, 1]), int(random.uniform(0.27, 0.54) * height)
        x = int(((start + way * pace * speed * at_s) % 1.3 - 0.15) * width)
        y = int(foot * height) - tall
        body = picture[max(0, y + tall // 6) : max(0, y + tall), max(0, x) : max(0, x + tall * 3 // 10)]
        body[:] = coat
        body[::6] += stripe
        picture[max(0, y) : max(0, y + tall // 6), max(0, x + tall // 10) : max(0, x + tall // 5)] = skin
    return picture


def with_bus(scene: Luma, at_s: float, every_s: float, luma: float) -> Luma:
    """Draw a bus that fills 60 % of the picture for 5 s."""
    picture: Luma = scene.copy()
    since_s = at_s % every_s
    if since_s < 5:
        left = int((0.1 + since_s / 5 * 0.2) * WIDTH)
        picture[:, left : left + int(0.6 * WIDTH)] = luma
        picture[100:180, left : left + int(0.6 * WIDTH) : 40] = 60
    return picture


def warped(scene: Luma, *, right: float = 0, down: float = 0, degrees: float = 0) -> Luma:
    """Return what a camera sees that was shifted, by shares of the picture, or rotated; mirrored edges."""
    height, width = scene.shape
    angle = np.deg2rad(degrees)
    y, x = np.mgrid[0:height, 0:width] - np.array([height / 2, width / 2])[:, None, None]
    from_x = np.abs(np.cos(angle) * x - np.sin(angle) * y + width * (0.5 + right))
    from_y = np.abs(np.sin(angle) * x + np.cos(angle) * y + height * (0.5 + down))
    from_x, from_y = np.minimum(from_x, 2 * width - 2 - from_x), np.minimum(from_y, 2 * height - 2 - from_y)
    seen: Luma = scene[from_y.round().astype(int), from_x.round().astype(int)]
    return seen


def blurred(scene: Luma, sigma_px: float) -> Luma:
    """Return the scene out of focus: a Gaussian, by way of its spectrum."""
    height, width = scene.shape
    wide = np.pad(scene, 40, mode="edge")
    square = np.fft.fftfreq(height + 80)[:, None] ** 2 + np.fft.rfftfreq(width + 80)[None] ** 2
    spectrum = np.fft.rfft2(wide) * np.exp(-2 * (np.pi * sigma_px) ** 2 * square)
    return np.fft.irfft2(spectrum, wide.shape)[40:-40, 40:-40].astype(np.float32)


def glared(scene: Luma) -> Luma:
    picture: Luma = scene.copy()
    picture[40:140, 240:440] = 255  # 9 % of the picture
    return picture


@dataclass
class Shoot:
    """Films with a camera that has noise, and shows the frames to a watch."""

    scene: Luma
    noise: float = 2.0
    least_face_px: int = LEAST_FACE_PX
    said: list[tuple[float, PictureState]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bench_region, self.reference_region = FakeRegion(), FakeRegion()
        self.watch = PictureWatch(
            least_face_width_px=self.least_face_px,
            bench=PictureBench(self.bench_region),
            reference_region=self.reference_region,
        )
        self._random = np.random.default_rng(3)
        height, width = self.scene.shape
        self._grain = self._random.normal(0, 1, (height + 40, width + 40)).astype(np.float32)
        self._number = 0

    @property
    def layout(self) -> GridLayout:
        height, width = self.scene.shape
        layout = layout_of(PictureSize(width_px=width, height_px=height), self.least_face_px)
        assert layout is not None
        return layout

    def expose(self, picture: Luma) -> Pixels:
        y, x = self._random.integers(0, 40, 2)
        grain = self._grain[y : y + picture.shape[0], x : x + picture.shape[1]]
        grey = np.clip(picture + self.noise * grain, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)

    def show(self, pixels: Pixels, at_s: float) -> PictureState:
        before = self.watch.state
        self._number += 1
        stamp = FrameStamp(
            camera_id=CAMERA,
            frame_number=self._number,
            captured_at=START,
            captured_monotonic_s=1000.0 + at_s,
        )
        state = self.watch.note(Frame(stamp=stamp, pixels=pixels))
        if state is not before:
            self.said.append((at_s, state))
        return state

    def run(self, film: Film, end_s: float = END_S, begin_s: float = 0.0) -> list[PictureState]:
        for number in range(round(begin_s * RATE_HZ), round(end_s * RATE_HZ)):
            self.show(self.expose(film(number / RATE_HZ)), number / RATE_HZ)
        return [state for _, state in self.said]


FAULTS: dict[str, tuple[PictureState, Callable[[Luma], Luma]]] = {
    "shifted by 3 %": (PictureState.MOVED, lambda scene: warped(scene, right=0.03)),
    "shifted down by 6 %": (PictureState.MOVED, lambda scene: warped(scene, down=0.06)),
    "shifted by a quarter": (PictureState.MOVED, lambda scene: warped(scene, right=0.25, down=0.1)),
    "rotated by 6 degrees": (PictureState.MOVED, lambda scene: warped(scene, degrees=6)),
    "another view": (PictureState.MOVED, lambda scene: scene[::-1, ::-1]),
    "out of focus by a tenth of a face": (PictureState.DEFOCUSED, lambda scene: blurred(scene, 2)),
    "far out of focus": (PictureState.DEFOCUSED, lambda scene: blurred(scene, 8)),
    "nothing but a blur": (PictureState.DEFOCUSED, lambda scene: blurred(scene, 20)),
    "saturated patch": (PictureState.GLARED, glared),
    "a third of the contrast": (PictureState.FOGGED, lambda scene: (scene - 200) * 0.35 + 200),
    "hardly any contrast": (PictureState.FOGGED, lambda scene: (scene - 150) * 0.03 + 150),
    "dark": (PictureState.DARK, lambda scene: scene * 0.06),
}


@pytest.mark.parametrize("n_people", [0, 8], ids=["empty street", "people walking"])
@pytest.mark.parametrize(("expected", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_within_30_s(
    expected: PictureState, fault: Callable[[Luma], Luma], n_people: int
) -> None:
    shoot = Shoot(make_scene(0))

    def film(at_s: float) -> Luma:
        picture = with_crowd(shoot.scene, at_s, n_people)
        return picture if at_s < FAULT_S else fault(picture)

    assert shoot.run(film) == [expected]
    assert shoot.said[0][0] - FAULT_S <= 30


GOOD_FILMS: dict[str, tuple[float, Callable[[Luma, float], Luma]]] = {
    "nothing": (2, lambda scene, at_s: scene),
    "a few people": (2, lambda scene, at_s: with_crowd(scene, at_s, 10)),
    "a crowd": (2, lambda scene, at_s: with_crowd(scene, at_s, 60, speed=0.2)),
    "a slow crowd": (2, lambda scene, at_s: with_crowd(scene, at_s, 40, speed=0.05)),
    "a crowd that comes later": (2, lambda scene, at_s: with_crowd(scene, at_s, 3 if at_s < 30 else 30)),
    "a white bus": (2, lambda scene, at_s: with_bus(scene, at_s, 40, 235)),
    "a dark bus every 15 s": (2, lambda scene, at_s: with_bus(scene, at_s, 15, 20)),
    "a shining bus after 20 s": (2, lambda scene, at_s: with_bus(scene, at_s + 20, 40, 255)),
    "dusk": (2, lambda scene, at_s: scene * (1 - at_s / 110)),
    "dusk from one side": (2, lambda scene, at_s: scene * np.linspace(1, 1 - at_s / 110, WIDTH, dtype="f4")),
    "dawn": (2, lambda scene, at_s: scene * (0.5 + at_s / 180)),
    "noise": (14, lambda scene, at_s: scene),
    "dusk with noise": (8, lambda scene, at_s: scene * (1 - at_s / 110)),
    "a little haze": (2, lambda scene, at_s: scene if at_s < FAULT_S else (scene - 200) * 0.7 + 200),
}


@pytest.mark.parametrize(("noise", "film"), GOOD_FILMS.values(), ids=GOOD_FILMS)
def test_people_buses_light_and_noise_are_no_fault(noise: float, film: Callable[[Luma, float], Luma]) -> None:
    shoot = Shoot(make_scene(1), noise=noise)
    assert shoot.run(lambda at_s: film(shoot.scene, at_s), end_s=80) == []
    assert shoot.watch.is_scene_known


def test_identical_frames_are_frozen_and_a_still_scene_with_noise_is_not() -> None:
    shoot = Shoot(make_scene(0))
    still = shoot.expose(shoot.scene)
    assert shoot.run(lambda at_s: shoot.scene, end_s=FAULT_S) == []
    for number in range(60):
        shoot.show(still, FAULT_S + number / RATE_HZ)
    ((at_s, state),) = shoot.said
    assert state is PictureState.FROZEN
    assert at_s - FAULT_S <= 30


def test_a_state_passes_when_its_cause_does() -> None:
    shoot = Shoot(make_scene(0))
    told = shoot.run(lambda at_s: shoot.scene * (0.06 if 24 <= at_s < 44 else 1), end_s=64)
    assert told == [PictureState.DARK, PictureState.OK]
    assert shoot.watch.state_since_s == 1000.0 + shoot.said[-1][0]


def test_a_moved_camera_stays_so_when_it_is_turned_back() -> None:
    shoot = Shoot(make_scene(0))
    away = warped(shoot.scene, right=0.2)
    told = shoot.run(lambda at_s: away if 24 <= at_s < 50 else shoot.scene, end_s=90)
    assert told == [PictureState.MOVED]


def test_a_camera_moved_in_the_dark_is_told_when_light_comes() -> None:
    shoot = Shoot(make_scene(0))
    away = warped(shoot.scene, right=0.2)
    told = shoot.run(lambda at_s: shoot.scene if at_s < 24 else away * (0.05 if at_s < 44 else 1), end_s=74)
    assert told[0] is PictureState.DARK
    assert told[-1] is PictureState.MOVED


def test_a_camera_moved_while_it_was_lost_is_told_when_it_comes_back() -> None:
    shoot = Shoot(make_scene(0))
    shoot.run(lambda at_s: shoot.scene, end_s=24)
    away = warped(shoot.scene, right=0.2)
    assert shoot.run(lambda at_s: away, begin_s=300, end_s=330) == [PictureState.MOVED]


def test_one_frame_after_a_loss_settles_nothing() -> None:
    shoot = Shoot(make_scene(0))
    shoot.run(lambda at_s: shoot.scene, end_s=24)
    assert shoot.show(shoot.expose(shoot.scene * 0.05), 900.0) is PictureState.OK


def test_frames_older_than_the_last_are_not_looked_at() -> None:
    shoot = Shoot(make_scene(0))
    shoot.run(lambda at_s: shoot.scene, end_s=24)
    for number in range(30):
        assert shoot.show(shoot.expose(shoot.scene * 0.05), 8.0 + number / RATE_HZ) is PictureState.OK


def test_four_frames_a_second_are_looked_at() -> None:
    shoot = Shoot(make_scene(0))
    still = shoot.expose(shoot.scene)
    for number in range(100):
        shoot.show(still, number / 25)
    assert 14 <= shoot.bench_region.n_clears <= 17


def covered(scene: Luma, share: float, cover: Luma | float) -> Luma:
    """Return the scene with something in front of its left part."""
    picture: Luma = scene.copy()
    width = int(share * WIDTH)
    picture[:, :width] = cover if isinstance(cover, float) else cover[:, :width]
    return picture


def test_what_hides_the_scene_behind_glare_is_no_move() -> None:
    shoot, lorry = Shoot(make_scene(0)), make_scene(7)
    behind = covered(shoot.scene, 0.75, lorry)

    def film(at_s: float) -> Luma:
        if not 24 <= at_s < 68:
            return shoot.scene
        return glared(behind) if at_s < 64 else behind  # the sun leaves it before it drives on

    assert shoot.run(film, end_s=90) == [PictureState.GLARED, PictureState.OK]


def test_a_frozen_picture_of_a_bus_is_no_move() -> None:
    shoot = Shoot(make_scene(0))
    bus = covered(shoot.scene, 0.75, make_scene(7))
    shoot.run(lambda at_s: shoot.scene, end_s=24)
    frozen = shoot.expose(bus)
    for number in range(80):
        shoot.show(frozen, 24 + number / RATE_HZ)
    shoot.run(lambda at_s: bus if at_s < 68 else shoot.scene, begin_s=64, end_s=90)
    assert [state for _, state in shoot.said] == [PictureState.FROZEN, PictureState.OK]


def test_a_plain_van_that_parks_is_no_move() -> None:
    shoot = Shoot(make_scene(0))
    told = shoot.run(lambda at_s: covered(shoot.scene, 0.65, 90.0) if at_s >= 24 else shoot.scene, end_s=80)
    assert told == []


def test_what_stood_in_the_way_while_the_scene_was_learnt_is_no_part_of_it() -> None:
    shoot, alone = Shoot(make_scene(0)), Shoot(make_scene(0))
    lorry = (make_scene(7) - 120) * 1.5 + 120
    film = {True: covered(shoot.scene, 0.7, lorry), False: shoot.scene}
    assert shoot.run(lambda at_s: film[at_s < 7], end_s=60) == []
    bus = with_bus(shoot.scene, 2.5, 40, 235)
    again = Shoot(make_scene(0))
    again.run(lambda at_s: bus if at_s < LEARN_S else shoot.scene, end_s=16)
    alone.run(lambda at_s: shoot.scene, end_s=16)
    anchors = (again.watch._reference._anchors > 0) & (alone.watch._reference._detail > 20)
    ratio = (again.watch._reference._detail / alone.watch._reference._detail)[anchors]
    assert np.all(np.abs(ratio - 1) < 0.25)
    statistics = PictureBench(FakeRegion()).bind(alone.layout)
    statistics.measure(shoot.expose(shoot.scene))
    assert np.median((alone.watch._reference._detail / statistics.detail)[anchors]) == pytest.approx(
        1, abs=0.1
    )


def test_a_picture_out_of_focus_is_told_in_spite_of_noise() -> None:
    shoot = Shoot(make_scene(0), noise=5)
    soft = blurred(shoot.scene, 4)
    assert shoot.run(lambda at_s: shoot.scene if at_s < FAULT_S else soft) == [PictureState.DEFOCUSED]


def test_what_cannot_be_compared_is_said() -> None:
    plain = Shoot(np.full((HEIGHT, WIDTH), 120, np.float32))
    plain.run(lambda at_s: plain.scene, end_s=40)
    assert not plain.watch.is_scene_known
    known = Shoot(make_scene(0))
    known.run(lambda at_s: known.scene, end_s=LEARN_S + PROVE_S)
    is_known = [known.watch.is_scene_known]
    known.run(lambda at_s: known.scene, begin_s=LEARN_S + PROVE_S, end_s=LEARN_S + PROVE_S + 1)
    assert [*is_known, known.watch.is_scene_known] == [False, True]


def test_another_resolution_is_learnt_anew_and_a_tiny_frame_changes_nothing() -> None:
    shoot = Shoot(make_scene(0))
    shoot.run(lambda at_s: shoot.scene, end_s=20)
    is_known = []
    for number, pixels in enumerate((np.zeros((1, 1, 3), np.uint8), shoot.expose(shoot.scene)[::2, ::2])):
        assert shoot.show(pixels, 20.5 + number) is PictureState.OK
        is_known.append(shoot.watch.is_scene_known)
    assert is_known == [True, False]
    large = Shoot(make_scene(0))
    large.show(np.zeros((4320, 7680, 3), np.uint8), 0.0)
    assert large.watch.state is PictureState.OK


@pytest.mark.parametrize(
    ("width_px", "height_px"), [(1280, 720), (1920, 1080), (640, 360), (320, 240), (720, 1280), (7680, 4320)]
)
@pytest.mark.parametrize("least_face_px", [40, 41, 60, 150, 1000])
def test_the_least_face_is_under_two_cells_wide(width_px: int, height_px: int, least_face_px: int) -> None:
    layout = layout_of(PictureSize(width_px=width_px, height_px=height_px), least_face_px)
    if layout is None:
        assert min(width_px, height_px) < 4 * (least_face_px // 2 + 1)
        return
    assert layout.cell_width_px * 2 > least_face_px
    assert layout.cell_height_px * 2 > least_face_px
    assert max(layout.rows, layout.columns) <= MOST_CELLS
    assert layout.columns * layout.cell_width_px <= width_px
    assert layout.rows * layout.cell_height_px <= height_px


def test_only_the_reference_stays_and_nothing_finer_than_the_grid_is_in_it() -> None:
    shoot = Shoot(make_scene(0))
    for number in range(40):
        shoot.show(shoot.expose(shoot.scene), number / RATE_HZ)
        assert not any(array.any() for array in shoot.bench_region.arrays)
    assert shoot.bench_region.n_clears == 40
    layout = shoot.layout
    n_cells, n_blocks = layout.rows * layout.columns, layout.rows * layout.columns // layout.block_cells**2
    kept = sum(np.count_nonzero(array) for array in shoot.reference_region.arrays)
    assert n_cells < kept <= 2 * n_cells + 7 * n_blocks


def test_the_bench_is_zero_after_a_fault_in_mid_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    shoot = Shoot(make_scene(0))
    shoot.show(shoot.expose(shoot.scene), 0.0)
    shoot.watch._reference._slopes = shoot.watch._reference._slopes[:, :-1]  # the arithmetic does not fit
    with pytest.raises(ValueError, match="broadcast"):
        shoot.show(shoot.expose(shoot.scene), 1.0)
    assert not any(array.any() for array in shoot.bench_region.arrays)


def test_sixteen_cameras_find_room_in_the_arena() -> None:
    arena = Arena(OTHER_BYTES // 2 + 16 * CAMERA_BYTES)
    bench = PictureBench(arena.region())
    for _ in range(16):
        PictureWatch(least_face_width_px=40, bench=bench, reference_region=arena.region())


def frames_of(film: Film, end_s: float, shoot: Shoot) -> Iterator[Frame]:
    for number in range(round(end_s * RATE_HZ)):
        at_s = number / RATE_HZ
        stamp = FrameStamp(
            camera_id=CAMERA, frame_number=number, captured_at=START, captured_monotonic_s=at_s
        )
        yield Frame(stamp=stamp, pixels=shoot.expose(film(at_s)))


def test_no_face_is_looked_for_in_a_moved_camera_s_frames() -> None:
    shoot, looked_at = Shoot(make_scene(0)), 0

    def detect(pixels: Pixels) -> list[object]:
        nonlocal looked_at
        looked_at += 1
        return [make_face()]

    counts = Counts()
    watch = CameraWatch(camera_id=CAMERA, picture=shoot.watch)
    analysis = FrameAnalysis(
        detector=FakeDetector(detect, FakeRegion()),  # type: ignore[arg-type]  # faces, by another name
        embedder=FakeEmbedder(lambda *_: unit(1.0), FakeRegion()),
        detector_region=FakeRegion(),
        embedder_region=FakeRegion(),
        gates={CAMERA: SizeGate(least_face_width_px=40)},
        counts=counts,
        watches={CAMERA: watch},
    )
    away = warped(shoot.scene, right=0.2)
    for frame in frames_of(lambda at_s: shoot.scene if at_s < 24 else away, 60, shoot):
        held = HeldFrame(frame=frame, release=lambda: None)
        work = analysis.analyse(held, TemplateBench(FakeRegion(), 8))
        assert bool(work.probes) is (watch.report().state is PictureState.OK)
    assert watch.report().state is PictureState.MOVED
    assert 24 * RATE_HZ < looked_at == counts.n_frames <= (24 + 30) * RATE_HZ
    assert watch.report().state_since_monotonic_s == looked_at / RATE_HZ
