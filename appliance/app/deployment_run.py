"""One deployment on the event loop: deliver, recognise, then wait for what is under way and erase."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

from rich.console import Console

from appliance import __version__
from appliance.alerts.delivery import AlertDelivery, DeliveryRules
from appliance.app.arming import Deployment
from appliance.app.broker_access import broker_access
from appliance.app.disk import DiskThread
from appliance.app.health_task import HealthTask
from appliance.app.recognition import EndReason, Recognition
from appliance.app.state import ApplianceState
from appliance.app.summary import RunSummary
from appliance.audit import AuditKind, AuditLog, AuditValue
from appliance.config import Config
from appliance.health import Observed
from appliance.ports import BrokerLink, Clock, ServiceNotifier
from appliance.records.alerts import SealedAlert
from appliance.records.channel import VisionAlert, VisionArmed
from appliance.records.delivery import OutboxCounts
from appliance.supervisor.tasks import Supervisor, TaskSpec, run_together
from drivers.broker import MqttBroker
from drivers.outbox import SqliteOutbox

CHECK_S = 0.2
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 15.0


class DeploymentRun:
    """One run of one deployment on the event loop."""

    def __init__(
        self,
        *,
        config: Config,
        config_path: Path,
        state: ApplianceState,
        audit: AuditLog,
        outbox: SqliteOutbox,
        deployment: Deployment,
        clock: Clock,
        console: Console,
        ends_with_video: bool,
        socket_path: Path,
        notifier: ServiceNotifier,
    ) -> None:
        self._config, self._config_path = config, config_path
        self._state, self._audit, self._outbox = state, audit, outbox
        self._deployment, self._clock, self._console = deployment, clock, console
        self._ends_with_video, self._socket_path = ends_with_video, socket_path
        self._notifier = notifier
        self._disk_failure: BaseException | None = None
        self._link: BrokerLink | None = None
        self._started_s = clock.monotonic_s()
        self._counts: OutboxCounts | None = None
        self._n_cool_down = 0
        self._is_erased = False

    async def run(self) -> RunSummary:
        """Deliver and recognise; then wait for what is under way, erase, and return what was done."""
        self._loop = asyncio.get_running_loop()
        self._disk = DiskThread(on_failure=self._note_disk_failure)
        try:
            self._access = await self._disk.run(partial(broker_access, self._config, self._config_path))
            self._delivery = await self._disk.run(self._make_delivery)
            self._recognition = self._make_recognition()
            self._health = self._make_health()
            self._outer = Supervisor(
                [
                    TaskSpec(name="broker", run=self._run_link),
                    TaskSpec(name="health", run=self._health.run),
                    TaskSpec(name="deployment", run=self._run_deployment, is_final=True, stop_limit_s=15.0),
                ],
                clock=self._clock,
                jitter=random.Random(),  # noqa: S311  for jitter, not for secrets
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._outer.stop)
            await self._outer.run()
            if self._disk_failure is not None:
                raise self._disk_failure
            if self._counts is None:
                self._counts = await self._disk.run(self._outbox.counts)
            return self._summary(self._counts)
        finally:
            await asyncio.to_thread(self._disk.close)

    async def _run_link(self) -> None:
        async with MqttBroker(self._access) as link:
            self._link = link
            self._outer.states()["broker"].is_healthy = True
            try:
                await run_together(self._delivery.run_delivery(link), self._delivery.run_inbox(link))
            finally:
                self._link = None

    async def _run_deployment(self) -> None:
        await self._recognition.run()
        reason = self._recognition.reason
        self._note(AuditKind.RECOGNITION_DISARMED.value, {"why": reason.value})
        self._console.print(f"recognition ended ({reason.value}); waiting for open alerts")
        await self._wait_for_decisions()
        await self._erase(reason)

    async def _wait_for_decisions(self) -> None:
        """Wait until each alert is decided, or too old to act on."""
        deadline_s = self._clock.monotonic_s() + self._config.alerts.actionable_s
        while self._clock.monotonic_s() < deadline_s:
            counts = await self._disk.run(self._outbox.counts)
            if counts.n_pending_alerts == 0 and counts.n_adjudications >= counts.n_receipts:
                return
            await self._clock.sleep(CHECK_S)

    async def _erase(self, reason: EndReason) -> None:
        deployment_id = self._deployment.authorisation.authorisation_id
        self._is_erased = await self._disk.run(partial(self._state.vault.erase, deployment_id))
        self._note(AuditKind.WATCHLIST_ERASED.value, {"why": reason.value, "deployment_id": deployment_id})
        self._note(AuditKind.AUTHORISATION_ENDED.value, {"deployment_id": deployment_id})
        self._console.print("the list is erased: its single-use key is destroyed")
        # What nobody has shown by now is too late; its message goes with the deployment (never list 6, 7).
        self._counts = await self._disk.run(self._outbox.counts)
        too_late = self._clock.now() + timedelta(days=1)  # later than any of them lives
        for alert_id in await self._disk.run(partial(self._outbox.expire, too_late)):
            self._note(AuditKind.ALERT_EXPIRED.value, {"alert_id": alert_id})
        await self._disk.run(partial(self._outbox.forget_deployment, deployment_id))

    async def _on_alert(self, alert: VisionAlert, ciphertext: bytes) -> None:
        admission = await self._delivery.admit(
            SealedAlert(
                alert_id=alert.alert_id,
                camera_id=alert.camera_id,
                entry_id=alert.entry_id,
                captured_at=alert.captured_at,
                sealed_keys=alert.sealed_keys,
                ciphertext=ciphertext,
            ),
            is_test=alert.is_volunteer,
        )
        if admission.is_admitted:
            self._console.print(f"alert {admission.sequence} from camera {alert.camera_id}")
        else:
            self._n_cool_down += 1

    async def _on_armed(self, armed: VisionArmed) -> None:
        point = self._deployment.authorisation.operating_point
        self._note(
            AuditKind.RECOGNITION_ARMED.value,
            {
                "n_entries": armed.n_entries,
                "n_references": armed.n_references,
                "threshold": f"{point.threshold:.4f}",
                "model_id": point.model_id,
            },
        )
        ends_at = self._deployment.authorisation.ends_at
        self._console.print(
            f"armed: {armed.n_entries} on the list, threshold {point.threshold:.3f},"
            f" until {ends_at:%H:%M:%S} UTC (warm-up {armed.warm_up_s:.1f} s)"
        )

    async def _open_vault(self) -> tuple[bytes, int]:
        return await self._disk.run(
            lambda: self._state.vault.open_for(
                self._deployment.authorisation,
                self._clock.now(),
                is_clock_trusted=self._clock.is_trusted(),
            )
        )

    def _summary(self, counts: OutboxCounts) -> RunSummary:
        return RunSummary(
            end_reason=self._recognition.reason,
            vision=self._recognition.vision.report,
            n_alerts=counts.n_alerts,
            n_alerts_in_cool_down=self._n_cool_down,
            n_receipts=counts.n_receipts,
            n_adjudications=counts.n_adjudications,
            is_list_erased=self._is_erased,
            worker_warnings=self._recognition.vision.warnings,
        )

    def _make_recognition(self) -> Recognition:
        return Recognition(
            config=self._config,
            config_path=self._config_path,
            deployment=self._deployment,
            socket_path=self._socket_path,
            clock=self._clock,
            open_vault=self._open_vault,
            on_alert=self._on_alert,
            on_armed=self._on_armed,
            on_camera=lambda kind, data: self._note(kind.value, data),
            ends_with_video=self._ends_with_video,
        )

    def _make_health(self) -> HealthTask:
        return HealthTask(
            appliance_id=self._config.appliance.id,
            port=self._config.health.port,
            observe=self._observe,
            link=lambda: self._link,
            notifier=self._notifier,
            clock=self._clock,
        )

    async def _observe(self) -> Observed:
        began_s = self._clock.monotonic_s()
        counts = await self._disk.run(self._outbox.counts)
        now_s = self._clock.monotonic_s()
        recognition = self._recognition
        return Observed(
            appliance_id=self._config.appliance.id,
            version=__version__,
            at=self._clock.now(),
            uptime_s=now_s - self._started_s,
            is_clock_trusted=self._clock.is_trusted(),
            is_ready=recognition.is_ready,
            is_armed=recognition.vision.is_armed,
            authorisation=self._deployment.authorisation,
            tasks=self._outer.states() | recognition.supervisor.states(),
            cameras={camera_id: task.state.report for camera_id, task in recognition.captures.items()},
            moved=frozenset(name for name, task in recognition.captures.items() if task.state.is_moved),
            vision=recognition.vision.report,
            warnings=recognition.vision.warnings,
            outbox=counts,
            disk_delay_s=now_s - began_s,
        )

    def _make_delivery(self) -> AlertDelivery:
        authorisation = self._deployment.authorisation
        return AlertDelivery(
            outbox=self._outbox,
            run_on_disk=self._disk.run,
            clock=self._clock,
            random=random.random,
            signer=self._state.signer(self._config.appliance.id),
            appliance_id=self._config.appliance.id,
            deployment_id=authorisation.authorisation_id,
            recipients=authorisation.recipients,
            rules=DeliveryRules(
                cooldown_s=self._config.decision.cooldown_s,
                expiry_s=self._config.alerts.actionable_s,
                first_retry_s=FIRST_RETRY_S,
                longest_retry_s=LONGEST_RETRY_S,
            ),
            on_event=self._note,
        )

    def _note(self, kind: str, data: Mapping[str, AuditValue]) -> None:
        self._disk.submit(partial(self._audit.append, AuditKind(kind), dict(data)))

    def _note_disk_failure(self, err: BaseException) -> None:
        # On the disk thread. What cannot be recorded must not go on: every step is accountable or not taken.
        self._disk_failure = err
        self._loop.call_soon_threadsafe(self._outer.stop)
