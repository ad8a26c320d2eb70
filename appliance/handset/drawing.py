"""Draw an alert in a terminal: two portraits side by side in half blocks, 24-bit colour."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from appliance.errors import PictureError
from appliance.handset.blind import AfterView, BeforeView

PORTRAIT_COLUMNS = 36
PORTRAIT_ROWS = 24
LARGEST_PICTURE_PX = 4_000_000
_HALF_BLOCK = "▀"  # its colour is the upper pixel, its background the lower


def draw_before(view: BeforeView) -> Panel:
    """Return the card before the first judgement; PictureError when a picture cannot be decoded."""
    pictures = Table.grid(padding=(0, 2))
    pictures.add_row(Text("CAMERA", style="bold"), Text("LIST", style="bold"))
    pictures.add_row(draw_portrait(view.probe_jpeg), draw_portrait(view.reference_jpeg))
    facts = Text(
        f"{view.category.value.replace('_', ' ')}: {_printable(view.instruction)}\n"
        f"camera {view.camera_id}, {view.captured_at:%H:%M:%S} UTC, {_where(view)}\n"
        f"alert {view.alert_id}"
    )
    is_test = view.is_test
    title = "TEST with a volunteer: take no action" if is_test else "ALERT: compare the two pictures"
    return Panel(Group(pictures, facts), title=title, border_style="yellow" if is_test else "red", width=82)


def draw_after(view: AfterView) -> Panel:
    """Return what was held back until the judgement."""
    lines = Text(
        f"judged {view.judgement.value.replace('_', ' ')}\n"
        f"name on the list: {_printable(view.name)}\n"
        f"comparison score {view.score:.3f}, threshold {view.threshold:.3f},"
        f" {view.n_frames_agreed} frames agreed"
    )
    return Panel(lines, title=f"alert {view.alert_id}", width=82)


def draw_portrait(jpeg: bytes, columns: int = PORTRAIT_COLUMNS, rows: int = PORTRAIT_ROWS) -> Text:
    """Return a JPEG as `rows` lines of `columns` half blocks.

    Raises:
        PictureError: Not a JPEG, or larger than 4 megapixels.
    """
    pixels = _decode(jpeg, columns, rows * 2)
    text = Text()
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        for (r, g, b), (below_r, below_g, below_b) in zip(upper, lower, strict=True):
            text.append(_HALF_BLOCK, f"rgb({r},{g},{b}) on rgb({below_r},{below_g},{below_b})")
        text.append("\n")
    text.right_crop()
    return text


def _decode(jpeg: bytes, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    too_large = (Image.DecompressionBombError, Image.DecompressionBombWarning)

    try:
        with Image.open(BytesIO(jpeg), formats=["JPEG"]) as picture:
            if picture.width * picture.height > LARGEST_PICTURE_PX:  # known before anything is decoded
                raise PictureError("the picture has more than 4 megapixels")
            small = picture.convert("RGB").resize((width_px, height_px), Image.Resampling.BOX)
    except too_large:
        raise PictureError("the picture has more than 4 megapixels") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as err:
        raise PictureError("the picture is not a JPEG that can be decoded") from err
    return np.asarray(small, dtype=np.uint8)


def _printable(text: str) -> str:
    """Keep a terminal's control codes out of what it draws."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _where(view: BeforeView) -> str:
    """Say in which third of the picture the face was, as the viewer sees it."""
    centre_px = view.face_box.x_px + view.face_box.width_px / 2
    third = min(max(int(3 * centre_px / max(view.frame_width_px, 1)), 0), 2)
    return ("left of the picture", "middle of the picture", "right of the picture")[third]
