"""A real RTSP server, run by path under the system's Python, which has GStreamer's bindings.

    /usr/bin/python3 tests/fakes/rtsp_server.py --port 0 --play stream.frames

It serves rtsp://127.0.0.1:PORT/stream, on loopback only. Each client sees the frames from the first one. A
file of frames is a line of JSON, `{"codec": "h264", "fps": 25, "is_loop": true}`, and then each access unit
behind its length (u32, little-endian). Standard output tells `port N` once it listens. Standard input takes a
line each: `play FILE` (all clients go on with that file, its codec too, in the same session), `stall` (the
sessions stay, no frame comes), `resume`. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import importlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("<I")
CAPS = {
    "h264": "video/x-h264,stream-format=byte-stream,alignment=au",
    "h265": "video/x-h265,stream-format=byte-stream,alignment=au",
    "mjpeg": "image/jpeg,framerate={fps}/1,width={width},height={height}",
}
# The selector is what the server takes for the payloader: so the codec can change under a session.
LIVE = "is-live=true do-timestamp=true format=time"
LAUNCH = (
    "( input-selector name=pay0 sync-streams=false"
    f" appsrc name=h264 {LIVE} ! rtph264pay pt=96 config-interval=-1 ! pay0."
    f" appsrc name=h265 {LIVE} ! rtph265pay pt=96 config-interval=-1 ! pay0."
    f" appsrc name=mjpeg {LIVE} ! rtpjpegpay pt=96 ! pay0. )"
)


class Frames:
    """The access units of a file."""

    def __init__(self, path: Path) -> None:
        head, _, data = path.read_bytes().partition(b"\n")
        settings = json.loads(head)
        self.codec: str = settings["codec"]
        self.fps: int = settings["fps"]
        self.is_loop: bool = settings["is_loop"]
        self.caps = CAPS[self.codec].format(**settings)
        self.units: list[bytes] = []
        at = 0
        while at < len(data):
            (length,) = LENGTH.unpack_from(data, at)
            at += LENGTH.size
            self.units.append(data[at : at + length])
            at += length


class Feeder:
    """Push frames to one client, one per tick."""

    def __init__(self, gst: Any, glib: Any, pipeline: Any, frames: Frames, *, is_stalled: bool) -> None:
        self._gst, self._glib, self._pipeline = gst, glib, pipeline
        self.is_stalled = is_stalled
        self._is_over = False
        self.play(frames)

    def play(self, frames: Frames) -> None:
        self._frames, self._next = frames, 0
        self._source = self._pipeline.get_by_name(frames.codec)
        self._source.set_property("caps", self._gst.Caps.from_string(frames.caps))
        selector = self._pipeline.get_by_name("pay0")
        payloader = self._source.get_static_pad("src").get_peer().get_parent_element()
        selector.set_property("active-pad", payloader.get_static_pad("src").get_peer())
        self._generation = getattr(self, "_generation", 0) + 1
        self._glib.timeout_add(round(1000 / frames.fps), self._tick, self._generation)

    def close(self) -> None:
        self._is_over = True

    def _tick(self, generation: int) -> bool:
        if self._is_over or generation != self._generation:
            return False
        if self.is_stalled:
            return True
        if self._next == len(self._frames.units):
            if not self._frames.is_loop:
                self._source.emit("end-of-stream")
                return False
            self._next = 0
        buffer = self._gst.Buffer.new_wrapped(self._frames.units[self._next])
        self._next += 1
        self._source.emit("push-buffer", buffer)
        return True


class Server:
    """Serve one path, to any number of clients, each with a feeder of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        gi = importlib.import_module("gi")
        for name in ("Gst", "GstRtsp", "GstRtspServer"):
            gi.require_version(name, "1.0")
        self._gst: Any = importlib.import_module("gi.repository.Gst")
        self._glib: Any = importlib.import_module("gi.repository.GLib")
        self._rtsp: Any = importlib.import_module("gi.repository.GstRtspServer")
        self._gst.init(None)
        self._frames = Frames(options.play)
        self._is_stalled = False
        self._feeders: list[Feeder] = []
        self._loop = self._glib.MainLoop()
        self._server = self._rtsp.RTSPServer()
        self._server.set_address("127.0.0.1")
        self._server.set_service(str(options.port))
        factory = self._rtsp.RTSPMediaFactory()
        factory.set_launch(LAUNCH)
        factory.set_shared(False)
        factory.connect("media-configure", self._configure)
        if options.user:
            self._require_password(factory, options.user, options.password)
        self._server.get_mount_points().add_factory("/stream", factory)

    def run(self) -> None:
        self._server.attach(None)
        self._glib.io_add_watch(
            0, self._glib.PRIORITY_DEFAULT, self._glib.IO_IN | self._glib.IO_HUP, self._read
        )
        print(f"port {self._server.get_bound_port()}", flush=True)
        self._loop.run()

    def _configure(self, _factory: Any, media: Any) -> None:
        feeder = Feeder(self._gst, self._glib, media.get_element(), self._frames, is_stalled=self._is_stalled)
        self._feeders.append(feeder)
        media.connect("unprepared", lambda _: self._forget(feeder))

    def _forget(self, feeder: Feeder) -> None:
        feeder.close()
        self._feeders.remove(feeder)

    def _read(self, *_conditions: object) -> bool:
        line = sys.stdin.readline()
        if not line:
            self._loop.quit()
            return False
        verb, _, rest = line.strip().partition(" ")
        if verb == "play":
            self._frames = Frames(Path(rest))
            for feeder in self._feeders:
                feeder.play(self._frames)
        else:
            self._is_stalled = verb == "stall"
            for feeder in self._feeders:
                feeder.is_stalled = self._is_stalled
        print(f"done {verb}", flush=True)
        return True

    def _require_password(self, factory: Any, user: str, password: str) -> None:
        auth, token = self._rtsp.RTSPAuth(), self._rtsp.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(self._rtsp.RTSPAuth.make_basic(user, password), token)
        self._server.set_auth(auth)
        permissions = self._rtsp.RTSPPermissions()
        for permission in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", permission, True)
        factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a file of frames by RTSP, on loopback.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--play", type=Path, required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    Server(parser.parse_args()).run()


if __name__ == "__main__":
    main()
