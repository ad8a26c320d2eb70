"""Look at everything once a second: make the health record, publish it, feed the watchdog while it is due."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from appliance.errors import BrokerError
from appliance.health import Observed, judge_health
from appliance.ports import BrokerLink, Clock, ServiceNotifier
from appliance.records.health import HealthRecord
from appliance.records.ids import ApplianceId
from appliance.records.wire import dump_record
from drivers.status_server import StatusServer

logger = logging.getLogger(__name__)
LOOK_S = 1.0
LONGEST_DISK_DELAY_S = 5.0
PUBLISH_EVERY = 5
HEALTH_TOPIC = "health"


class HealthTask:
    """Keep the newest health record.

    The watchdog is fed by progress, not by a timer: the loop came round, the disk thread answered, and the
    vision worker either reports or is being started again.

    Args:
        observe: Gathers what the parts know; goes through the disk thread and says how long that took.
        link: Returns the link to the broker while there is one.
    """

    def __init__(
        self,
        *,
        appliance_id: ApplianceId,
        port: int,
        observe: Callable[[], Awaitable[Observed]],
        link: Callable[[], BrokerLink | None],
        notifier: ServiceNotifier,
        clock: Clock,
    ) -> None:
        self._appliance_id, self._port = appliance_id, port
        self._observe, self._link = observe, link
        self._notifier, self._clock = notifier, clock
        self._was_ready = False
        self.record: HealthRecord | None = None

    async def run(self) -> None:
        """Look, for ever; ConfigError when the port is taken."""
        async with StatusServer(self._port, lambda: self.record):
            n_looks = 0
            while True:
                before = self.record
                observed = await self._observe()
                self.record = judge_health(observed)
                self._tell_manager(observed)
                if n_looks % PUBLISH_EVERY == 0 or _differs(before, self.record):
                    await self._publish(self.record)
                n_looks += 1
                await self._clock.sleep(LOOK_S)

    def _tell_manager(self, observed: Observed) -> None:
        assert self.record is not None
        if self.record.is_ready and not self._was_ready:
            self._was_ready = True
            self._notifier.ready("armed" if self.record.is_armed else "ready")
        if observed.disk_delay_s <= LONGEST_DISK_DELAY_S:
            self._notifier.watchdog()

    async def _publish(self, record: HealthRecord) -> None:
        link = self._link()
        if link is None:
            return
        topic = f"{HEALTH_TOPIC}/{self._appliance_id}"
        try:
            await link.publish(topic, dump_record(record), expiry_s=None, retain=True)
        except BrokerError as err:
            logger.info("health was not published: %s", err)


def _differs(before: HealthRecord | None, now: HealthRecord) -> bool:
    return before is None or (before.reasons, before.is_ready, before.is_armed) != (
        now.reasons,
        now.is_ready,
        now.is_armed,
    )
