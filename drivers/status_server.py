"""Health and metrics over HTTP, on loopback alone: `/health` as JSON, `/metrics` for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from appliance.compat import Self
from appliance.errors import ApplianceError, ConfigError
from appliance.records.channel import PictureState
from appliance.records.health import HealthReason, HealthRecord
from appliance.records.wire import dump_record

if TYPE_CHECKING:
    from aiohttp.web import AppRunner, Request, Response
    from prometheus_client.core import Metric

HOST = "127.0.0.1"
STOP_LIMIT_S = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus text format 0.0.4


class StatusUnreachableError(ApplianceError):
    """Report that no appliance answers on the configured port."""

    code = "status.unreachable"


class StatusServer:
    """Serve the newest health record. Thread: the event loop.

    Args:
        port: On 127.0.0.1; who may reach it from outside is for a reverse proxy to say.
        newest: Returns the record; None before there is one.
    """

    def __init__(self, port: int, newest: Callable[[], HealthRecord | None]) -> None:
        self._port, self._newest = port, newest
        self._runner: AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen; ConfigError when the port is taken."""
        from aiohttp import web

        application = web.Application(client_max_size=1024)
        application.router.add_get("/health", self._health)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_LIMIT_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as err:
            await self._runner.cleanup()
            raise ConfigError(f"health.port: {HOST}:{self._port} cannot be used: {err.strerror}") from err
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, request: Request) -> Response:
        from aiohttp import web

        del request
        record = self._newest()
        if record is None:
            return web.Response(status=503, text="starting")
        return web.Response(body=dump_record(record), content_type="application/json")

    async def _metrics(self, request: Request) -> Response:
        from aiohttp import web

        del request
        record = self._newest()
        body = b"" if record is None else render_metrics(record)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def render_metrics(record: HealthRecord) -> bytes:
    """Return a health record in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_RecordCollector(record))
    return generate_latest(registry)


def fetch_health(port: int, timeout_s: float = 3.0) -> bytes:
    """Return a running appliance's health record as JSON; StatusUnreachableError otherwise. Blocks."""
    import http.client

    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = response.read(1 << 20)
    except OSError as err:
        raise StatusUnreachableError(
            f"no appliance answers on {HOST}:{port}: {err.strerror or err}; is `appliance run` running?"
        ) from err
    finally:
        connection.close()
    if response.status != 200:
        raise StatusUnreachableError(f"the appliance on {HOST}:{port} is still starting")
    return body


class _RecordCollector:
    """Give one record's numbers to Prometheus; made for each scrape, so that nothing is stale."""

    def __init__(self, record: HealthRecord) -> None:
        self._record = record

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        record = self._record
        yield GaugeMetricFamily("appliance_ready", "1 when ready", value=record.is_ready)
        yield GaugeMetricFamily("appliance_armed", "1 when armed", value=record.is_armed)
        yield GaugeMetricFamily("appliance_uptime_seconds", "Since the start", value=record.uptime_s)
        yield GaugeMetricFamily("appliance_alerts_pending", "No receipt yet", value=record.n_alerts_pending)
        yield GaugeMetricFamily(
            "appliance_alerts_expired", "Not shown in time", value=record.n_alerts_expired
        )
        reasons = GaugeMetricFamily("appliance_reason", "1 for what is wrong", labels=["reason"])
        for reason in HealthReason:
            reasons.add_metric([reason.value], float(reason in record.reasons))
        yield reasons
        restarts = GaugeMetricFamily("appliance_task_restarts", "Since the start", labels=["task"])
        for task in record.tasks:
            restarts.add_metric([task.name], task.n_restarts)
        yield restarts
        frames = GaugeMetricFamily("appliance_camera_frames", "Of this capture process", labels=["camera"])
        for camera in record.cameras:
            frames.add_metric([camera.camera_id], camera.n_frames)
        yield frames
        yield from self._vision()

    def _vision(self) -> Iterable[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        vision = self._record.vision
        if vision is None:
            return
        for name, text, value in (
            ("frames", "Frames analysed", vision.n_frames),
            ("frames_dropped", "Frames that a newer one replaced", vision.n_frames_dropped),
            ("faces", "Detections", vision.n_faces),
            ("searched", "Probes compared", vision.n_searched),
            ("probes_wiped", "Probes wiped", vision.n_probes_wiped),
            ("wipe_after_capture_ms_max", "Slowest wipe after capture", vision.slowest_wipe_after_capture_ms),
        ):
            yield GaugeMetricFamily(f"appliance_vision_{name}", text, value=value)
        states = GaugeMetricFamily("appliance_camera_state", "1 for how it is", labels=["camera", "state"])
        for report in vision.cameras:
            for state in PictureState:
                states.add_metric([report.camera_id, state.value], float(report.state is state))
        yield states
