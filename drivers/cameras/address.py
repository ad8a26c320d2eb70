"""What a camera is called in the configuration: judged before anything is opened, and safe to log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from appliance.errors import SourceRefusedError

CameraKind = Literal["file", "rtsp", "usb", "csi"]
LONGEST_SOURCE = 1024

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_KINDS: dict[str, CameraKind] = {
    "file": "file",
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "v4l2": "usb",
    "csi": "csi",
}
_VIDEO_NODE = re.compile(r"/dev/video[0-9]{1,3}")
_VIDEO_DEVICE = re.compile(r"/dev/(video[0-9]{1,3}|v4l/by-(id|path)/[A-Za-z0-9_.:+-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraAddress:
    """A source that may be opened.

    `target` is what the adapter opens: a path for `file` and `usb`, the whole URL for `rtsp` (credentials
    included: never log it), the sensor's number for `csi`.
    """

    kind: CameraKind
    target: str = field(repr=False)


def parse_address(source: str) -> CameraAddress:
    """Return what a source names: `PATH`, `file:///PATH`, `rtsp://...`, `v4l2:///dev/video0` or `csi://0`.

    Raises:
        SourceRefusedError: Another scheme, or characters that a GStreamer launch string would read as its
            own. A plain path may hold spaces and quotes: it reaches no launch string.
    """
    if not source or len(source) > LONGEST_SOURCE:
        raise SourceRefusedError(f"a camera's source has 1 to {LONGEST_SOURCE} characters")
    if not source.isprintable():
        raise SourceRefusedError("a camera's source may not hold control characters")
    scheme = _SCHEME.match(source)
    if scheme is None:
        return _file_address(source)
    if has_launch_characters(source):
        raise SourceRefusedError("a camera's address may not hold spaces, quotes, backslashes or `!`")
    kind = _KINDS.get(scheme.group(1).lower())
    if kind == "file":
        return _file_address(_path_of(source))
    if kind == "rtsp":
        return CameraAddress(kind=kind, target=_rtsp_url(source))
    if kind == "usb":
        return CameraAddress(kind=kind, target=_video_device(_path_of(source)))
    if kind == "csi" and re.fullmatch(r"csi://[0-9]", source):
        return CameraAddress(kind=kind, target=source.removeprefix("csi://"))
    raise SourceRefusedError(
        f"{public_address(source)} is no camera: give a file, rtsp://, v4l2:///dev/videoN or csi://N"
    )


def public_address(source: str) -> str:
    """Return the source for logs and messages: without credentials, query and control characters."""
    shown = "".join(character if character.isprintable() else "?" for character in source[:LONGEST_SOURCE])
    if _SCHEME.match(shown) is None:
        return shown
    scheme, _, rest = shown.partition(":")
    # Everything up to the last @ may be a password, wherever its writer forgot to escape a slash.
    rest = rest.rpartition("@")[2].lstrip("/") if "@" in rest else rest.removeprefix("//")
    return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"


def has_launch_characters(text: str) -> bool:
    """Say whether a GStreamer launch string, which quotes nothing, would read more than one word."""
    return any(character.isspace() or character in "\"'`!\\" for character in text)


def is_video_node(path: Path) -> bool:
    """Say whether a path, its links followed, is a Video4Linux device by its name."""
    return _VIDEO_NODE.fullmatch(str(path)) is not None


def _file_address(path: str) -> CameraAddress:
    if path.startswith("/dev/"):
        raise SourceRefusedError(f"{path} is a device: write v4l2://{path}")
    return CameraAddress(kind="file", target=str(Path(path)))


def _path_of(source: str) -> str:
    scheme, _, path = source.partition("://")
    if not path.startswith("/"):
        raise SourceRefusedError(f"{public_address(source)}: write {scheme}:/// and a path from the root")
    return path


def _video_device(path: str) -> str:
    if _VIDEO_DEVICE.fullmatch(path) is None:
        raise SourceRefusedError(f"{path} is no video device: write v4l2:///dev/videoN")
    return path


def _rtsp_url(source: str) -> str:
    try:
        parts = urlsplit(source)
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text quotes the address, which may hold a password
        is_usable = False
    if not is_usable:
        raise SourceRefusedError(f"{public_address(source)} names no host")
    return source
