"""Make templates of an evaluation folder, in memory only, to measure a pair of models with.

For a workstation. Templates of people who have not been asked are made here: the folder is a public data
set, nothing is written, and nothing of it stays after the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from appliance.compat import Self
from appliance.errors import PictureError, UsageError
from appliance.records.frames import Face, Pixels
from models.pairs import ModelPair, open_pair

LARGEST_PICTURE_BYTES = 4096 * 4096 * 3
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LFW_CAVEAT = (
    "LFW is celebrities, mostly men, photographed by the press, and overlaps what the networks were trained "
    "on: expect worse on a street, and unequal rates between groups."
)


class OnPicture(Protocol):
    """Be told how far the embedding is."""

    def __call__(self, n_done: int, n_all: int) -> None:
        """Take counts of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of the folder and whose it is."""

    person: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedFolder:
    """Templates (N, D) with their persons; pictures without a face are counted and left out."""

    templates: npt.NDArray[np.float32]
    persons: tuple[int, ...]
    n_without_face: int


class HeapRegion:
    """Implement the Region port on the ordinary heap, for a workstation; the appliance has the arena."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[np.generic]] = []

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """Return a zeroed array."""
        array: npt.NDArray[np.generic] = np.zeros(shape, dtype)
        self._arrays.append(array)
        return array

    def clear(self) -> None:
        """Leave the arrays as they are: zeroing 48 MiB a picture would take longer than the networks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def list_pictures(folder: Path, limit: int | None) -> list[Picture]:
    """Return the pictures of `folder`/<person>/, people and pictures in the order of their names.

    Args:
        folder: The evaluation folder.
        limit: Take the first so many people only; None takes all.

    Raises:
        UsageError: No such folder, or it has no pictures like that.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    people = sorted(p for p in folder.iterdir() if p.is_dir())[:limit]
    pictures = [
        Picture(person=i, path=path)
        for i, person in enumerate(people)
        for path in sorted(person.iterdir())
        if path.suffix.lower() in _SUFFIXES
    ]
    if not pictures:
        raise UsageError(f"{folder} has no <person>/<picture>.jpg or .png in it")
    return pictures


def open_for_measuring(pair: str, folder: Path, *, width_px: int, height_px: int, threads: int) -> ModelPair:
    """Open a pair on the ordinary heap; the errors of `open_pair`."""
    return open_pair(
        pair,
        folder,
        detector_region=HeapRegion(),
        embedder_region=HeapRegion(),
        detector_width_px=width_px,
        detector_height_px=height_px,
        largest_frame_bytes=LARGEST_PICTURE_BYTES,
        threads=threads,
    )


def embed_pictures(pair: ModelPair, pictures: Sequence[Picture], on_picture: OnPicture) -> EmbeddedFolder:
    """Return the template of the main face of each picture.

    Blocks: 10 to 50 ms a picture.

    Raises:
        PictureError: A file cannot be decoded.
    """
    templates = np.zeros((len(pictures), pair.embedder.template_length), np.float32)
    persons: list[int] = []
    for n_done, picture in enumerate(pictures):
        pixels = read_pixels(picture.path)
        face = choose_main_face(pair.detector.detect(pixels), pixels)
        if face is not None:
            pair.embedder.embed(pixels, face.points, templates[len(persons)])
            persons.append(picture.person)
        on_picture(n_done + 1, len(pictures))
    return EmbeddedFolder(
        templates=templates[: len(persons)],
        persons=tuple(persons),
        n_without_face=len(pictures) - len(persons),
    )


def choose_main_face(faces: Sequence[Face], pixels: Pixels) -> Face | None:
    """Return the face that the picture is of: the largest, less twice its squared distance to the middle."""
    height_px, width_px = pixels.shape[:2]

    def weight(face: Face) -> float:
        box = face.box
        across: float = box.x_px + box.width_px / 2 - width_px / 2
        down: float = box.y_px + box.height_px / 2 - height_px / 2
        return box.width_px * box.height_px - 2 * (across * across + down * down)

    return max(faces, key=weight, default=None)


def read_pixels(path: Path) -> Pixels:
    """Return a picture as RGB.

    Raises:
        PictureError: Not a picture, or larger than 4096 x 4096.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height * 3 > LARGEST_PICTURE_BYTES:
                raise PictureError(f"{path}: larger than 4096 x 4096")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as err:
        raise PictureError(f"{path}: cannot be decoded ({type(err).__name__})") from err
