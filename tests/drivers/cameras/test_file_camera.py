"""Files as cameras: the good, the damaged and the hostile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import CameraSourceError, EndOfStreamError, StorageError
from appliance.ports import Camera
from appliance.records.frames import PictureSize
from drivers.cameras.file_camera import FileCamera
from drivers.cameras.picture import PictureWriter
from drivers.cameras.writer import VideoWriter
from tests.contracts.camera import CameraContract
from tests.fakes.clock import FakeClock

Picture = npt.NDArray[np.uint8]
SIDE_BYTES = 320 * 240 * 3


def noise_pictures(n_pictures: int, width_px: int = 320, height_px: int = 240) -> list[Picture]:
    noise = np.random.default_rng(1).integers(0, 256, (height_px + 60, width_px + 60, 3), np.uint8)
    return [
        np.ascontiguousarray(noise[number : number + height_px, number : number + width_px])
        for number in range(n_pictures)
    ]


def write_video(path: Path, pictures: list[Picture], *, is_lossless: bool = False, fps: int = 25) -> Path:
    height_px, width_px = pictures[0].shape[:2]
    size = PictureSize(width_px=width_px, height_px=height_px)
    with VideoWriter(path, size, fps, is_lossless=is_lossless) as writer:
        for picture in pictures:
            writer.add(picture)
    return path


def write_with_index_first(path: Path, pictures: list[Picture], **stream_settings: Any) -> Path:
    """Write an mp4 that still plays when its end is cut off."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        if "rotation" in stream_settings:
            stream.set_display_rotation(stream_settings["rotation"])
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def open_camera(path: Path) -> FileCamera:
    camera = FileCamera(path, "fast", FakeClock())
    camera.open()
    return camera


def read_all(camera: FileCamera) -> tuple[list[Picture], str]:
    """Return all pictures and the message of the end."""
    slot, seen = np.zeros(SIDE_BYTES, np.uint8), []
    with pytest.raises(EndOfStreamError) as caught:
        while True:
            size = camera.read_into(slot, 1.0)
            assert size is not None
            seen.append(slot[: size.width_px * size.height_px * 3].reshape(size.height_px, -1, 3).copy())
    camera.close()
    return seen, str(caught.value)


class TestFileCamera(CameraContract):
    END = EndOfStreamError

    def make_camera(self, folder: Path, pictures: list[Picture]) -> Camera:
        return FileCamera(write_video(folder / "video.mp4", pictures), "fast", FakeClock())

    def make_unusable(self, folder: Path) -> Camera:
        return FileCamera(folder / "missing.mp4", "fast", FakeClock())


@pytest.mark.parametrize("width_px", [320, 318, 99])
def test_lossless_video_decodes_to_the_same_bytes(tmp_path: Path, width_px: int) -> None:
    pictures = noise_pictures(4, width_px)
    path = write_video(tmp_path / "video.mkv", pictures, is_lossless=True)
    seen, _ = read_all(open_camera(path))
    assert [np.array_equal(was, is_now) for was, is_now in zip(pictures, seen, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"this is no video\n" * 200, "not a video"),
        ("text.txt", b"this is no video\n" * 200, "not a video"),
        ("noise.mp4", bytes(np.random.default_rng(0).integers(0, 256, 20_000, np.uint8)), "not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nvideo.mp4\n#EXT-X-ENDLIST\n", "not a"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile video.mp4\n", "not a video"),
    ],
)
def test_what_is_not_a_video_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    write_video(tmp_path / "video.mp4", noise_pictures(3))  # what the playlists would play
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CameraSourceError, match=reason) as caught:
        open_camera(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("missing.mp4", "No such file"), (".", "not a file"), ("pipe", "not a file")):
        with pytest.raises(CameraSourceError, match=reason):
            open_camera(tmp_path / name)


def test_picture_is_not_a_video(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "still.png")
    with pytest.raises(CameraSourceError, match="not a video"):
        open_camera(tmp_path / "still.png")


def test_sound_without_video_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(CameraSourceError, match="no video in it"):
        open_camera(tmp_path / "sound.mkv")


def test_video_without_pictures_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", noise_pictures(3), is_lossless=True)
    content = path.read_bytes()
    path.write_bytes(content[:1500])  # the header alone
    with pytest.raises(CameraSourceError, match=r"no picture|not a video"):
        open_camera(path)


def test_one_pixel_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "dot.mkv", [np.zeros((1, 1, 3), np.uint8)], is_lossless=True)
    camera = open_camera(path)
    with pytest.raises(CameraSourceError, match="1 x 1 px are too small"):
        camera.read_into(np.zeros(100, np.uint8), 1.0)
    camera.close()


def test_8k_picture_is_given_whole(tmp_path: Path) -> None:
    picture = np.zeros((4320, 7680, 3), np.uint8)
    picture[-16:, -16:] = 255
    camera = open_camera(write_video(tmp_path / "large.mp4", [picture]))
    slot = np.zeros(picture.size, np.uint8)
    assert camera.read_into(slot, 1.0) == PictureSize(width_px=7680, height_px=4320)
    assert slot[-16 * 3 :].min() > 230
    assert not slot[: picture.size // 2].any()
    camera.close()


def test_picture_beyond_8k_is_never_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "huge.mp4", [np.zeros((4336, 7696, 3), np.uint8)])
    with pytest.raises(CameraSourceError, match=r"no picture|not a video"):
        open_camera(path)


def test_mp4_cut_off_before_its_index_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", noise_pictures(20))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(CameraSourceError, match="not a video"):
        open_camera(path)


def test_video_cut_off_in_the_middle_is_used_up_to_there(tmp_path: Path) -> None:
    path = write_with_index_first(tmp_path / "video.mp4", noise_pictures(30))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    seen, message = read_all(open_camera(path))
    assert 10 <= len(seen) < 30
    assert "damaged" in message


def test_damaged_part_is_passed_over_and_told(tmp_path: Path) -> None:
    path = write_with_index_first(tmp_path / "video.mp4", noise_pictures(30))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    seen, message = read_all(open_camera(path))
    assert 20 <= len(seen) < 30
    assert "damaged" in message


def test_whole_video_ends_without_a_word_of_damage(tmp_path: Path) -> None:
    seen, message = read_all(open_camera(write_with_index_first(tmp_path / "v.mp4", noise_pictures(30))))
    assert len(seen) == 30
    assert "damaged" not in message


def test_turned_video_is_shown_upright(tmp_path: Path) -> None:
    left_bright = np.zeros((240, 320, 3), np.uint8)
    left_bright[:, :160] = 220
    path = write_with_index_first(tmp_path / "video.mp4", [left_bright] * 3, rotation=90)
    seen, _ = read_all(open_camera(path))
    assert seen[0].shape == (320, 240, 3)
    assert seen[0][300].mean() > 180  # a quarter turn counter-clockwise takes the left to the bottom
    assert seen[0][20].mean() < 40


def test_real_rate_follows_the_files_own_time(tmp_path: Path) -> None:
    clock = FakeClock()
    camera = FileCamera(write_video(tmp_path / "v.mp4", noise_pictures(6)), "real", clock, clock.advance)
    camera.open()
    began_s = clock.monotonic_s()
    due_s = []
    for _ in range(6):
        assert camera.read_into(None, 1.0) is not None
        due_s.append(round(clock.monotonic_s() - began_s, 3))
    assert due_s == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    camera.close()


def test_picture_that_is_not_due_yet_is_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write_video(tmp_path / "v.mp4", noise_pictures(3), fps=1)
    camera = FileCamera(path, "real", clock, clock.advance)
    camera.open()
    sizes = [camera.read_into(None, 0.4) is not None for _ in range(6)]
    assert sizes == [True, False, False, True, False, False]
    camera.close()


def test_slow_machine_sees_fewer_pictures_not_older_ones(tmp_path: Path) -> None:
    clock = FakeClock()
    camera = FileCamera(write_video(tmp_path / "v.mp4", noise_pictures(50)), "real", clock, clock.advance)
    camera.open()
    camera.read_into(None, 1.0)
    clock.advance(1.0)
    assert camera.read_into(None, 1.0) is not None  # ten are passed over at once, and not for ever
    assert camera.n_passed_over == 10
    camera.close()


def test_hidden_copy_of_a_picture_is_zeroed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[av.VideoFrame] = []

    class Spying:
        """A libswscale whose result can still be looked at after it was used."""

        def __init__(self) -> None:
            self._real = av.video.reformatter.VideoReformatter()

        def reformat(self, frame: av.VideoFrame, **settings: Any) -> av.VideoFrame:
            converted.append(self._real.reformat(frame, **settings))
            return converted[-1]

    writer = PictureWriter()
    monkeypatch.setattr(writer, "_reformatter", Spying())
    camera = open_camera(write_video(tmp_path / "v.mp4", noise_pictures(3)))
    camera._writer = writer
    slot = np.zeros(SIDE_BYTES, np.uint8)
    camera.read_into(slot, 1.0)
    assert slot.any()
    assert not any(bytes(converted[0].planes[0]))
    camera.close()


def test_video_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_video(tmp_path / "missing" / "v.mp4", noise_pictures(1))


def test_picture_of_another_size_is_not_written(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="shape"),
        VideoWriter(tmp_path / "v.mp4", PictureSize(width_px=64, height_px=48), 25) as writer,
    ):
        writer.add(np.zeros((48, 62, 3), np.uint8))
