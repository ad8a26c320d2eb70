"""What every camera does, whatever it is made of. A subclass gives the cameras and says what they show."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import CameraError, CameraSourceError
from appliance.ports import Camera
from appliance.records.frames import PictureSize

READ_TIMEOUT_S = 2.0
LARGEST_BYTES = 1920 * 1080 * 3


class CameraContract:
    """Run with pytest by a class Test... that inherits from this.

    `END` is what the end of the stream is: of a file its end, of a live camera a loss.
    """

    END: ClassVar[type[CameraError]]

    @abstractmethod
    def make_camera(self, folder: Path, pictures: list[npt.NDArray[np.uint8]]) -> Camera:
        """Return a camera, not opened, that will show these (H, W, 3) RGB pictures and then end."""

    @abstractmethod
    def make_unusable(self, folder: Path) -> Camera:
        """Return a camera, not opened, whose source is not there."""

    @pytest.fixture
    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """Return five pictures whose middles differ by far more than a codec changes them."""
        return [np.full((48, 64, 3), 40 * number + 30, np.uint8) for number in range(5)]

    def read(self, camera: Camera, slot: npt.NDArray[np.uint8] | None) -> PictureSize:
        """Return the next picture's size, however often the camera has none yet."""
        for _ in range(50):
            size = camera.read_into(slot, READ_TIMEOUT_S)
            if size is not None:
                return size
        pytest.fail("the camera gave no picture")

    def test_pictures_come_in_order_and_as_rgb_rows(
        self, tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
    ) -> None:
        camera = self.make_camera(tmp_path, pictures)
        camera.open()
        slot = np.full(LARGEST_BYTES, 255, np.uint8)
        for picture in pictures:
            assert self.read(camera, slot) == PictureSize(width_px=64, height_px=48)
            seen = slot[: picture.size].reshape(picture.shape).astype(np.int16)
            assert np.abs(seen - picture).max() <= 8
        assert (slot[pictures[0].size :] == 255).all()
        camera.close()

    def test_picture_without_a_slot_is_passed_over(
        self, tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
    ) -> None:
        camera = self.make_camera(tmp_path, pictures)
        camera.open()
        slot = np.zeros(LARGEST_BYTES, np.uint8)
        assert self.read(camera, None) == PictureSize(width_px=64, height_px=48)
        self.read(camera, slot)
        assert abs(int(slot[0]) - int(pictures[1][0, 0, 0])) <= 8
        camera.close()

    def test_end_of_the_stream_is_told_each_time(
        self, tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
    ) -> None:
        camera = self.make_camera(tmp_path, pictures)
        camera.open()
        for _ in pictures:
            self.read(camera, None)
        for _ in range(2):
            with pytest.raises(self.END) as caught:
                self.read(camera, None)
            assert type(caught.value) is self.END
            assert "\n" not in str(caught.value)
        camera.close()

    def test_picture_larger_than_the_slot_is_refused_and_writes_nothing(
        self, tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
    ) -> None:
        camera = self.make_camera(tmp_path, pictures)
        camera.open()
        slot = np.full(pictures[0].size - 1, 255, np.uint8)
        with pytest.raises(CameraSourceError, match="64 x 48"):
            self.read(camera, slot)
        assert (slot == 255).all()
        camera.close()

    def test_source_that_is_not_there_is_refused_in_one_line(self, tmp_path: Path) -> None:
        camera = self.make_unusable(tmp_path)
        with pytest.raises(CameraError) as caught:
            camera.open()
        assert "\n" not in str(caught.value)
        camera.close()

    def test_closing_twice_is_harmless(self, tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]) -> None:
        camera = self.make_camera(tmp_path, pictures)
        camera.open()
        camera.close()
        camera.close()

    def test_closed_camera_gives_no_picture(
        self, tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
    ) -> None:
        camera = self.make_camera(tmp_path, pictures)
        camera.open()
        self.read(camera, None)
        camera.close()
        slot = np.full(LARGEST_BYTES, 255, np.uint8)
        with pytest.raises(CameraError):
            camera.read_into(slot, READ_TIMEOUT_S)
        assert (slot == 255).all()

    def test_camera_that_was_never_opened_closes(self, tmp_path: Path) -> None:
        self.make_unusable(tmp_path).close()
