"""The two threads of the vision worker: `gpu` analyses the newest frame, `match` decides on it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from appliance.ports import Clock
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.claims import Matcher
from appliance.vision.intake import Intake
from appliance.vision.work import BenchPool, FrameWork, HeldFrame, TemplateBench

IDLE_S = 0.2
LONGEST_TURN_S = 3.0
"""A frame takes a fraction of a second; whoever takes longer hangs."""


class Pipeline:
    """Run frames from the intake to the decision.

    Args:
        on_bug: Called once, from the failing thread, with what ended it; the worker then ends.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        analysis: FrameAnalysis,
        matcher: Matcher,
        benches: list[TemplateBench],
        on_bug: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        self._intake, self._analysis, self._matcher = intake, analysis, matcher
        self._benches = BenchPool(benches)
        self._on_bug = on_bug
        self._clock = clock
        self._turned_s = dict.fromkeys(("gpu", "match"), clock.monotonic_s())
        self._work: queue.Queue[FrameWork] = queue.Queue(maxsize=1)
        self._is_stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._guard, args=(self._run_gpu,), name="gpu", daemon=True),
            threading.Thread(target=self._guard, args=(self._run_match,), name="match", daemon=True),
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def is_turning(self) -> bool:
        """Say whether both threads came round lately: a hung network call shows here, not in a timer."""
        now_s = self._clock.monotonic_s()
        return all(now_s - turned_s <= LONGEST_TURN_S for turned_s in self._turned_s.values())

    def stop(self) -> None:
        """End both threads; frames in flight are finished or given back, and everything is zeroed."""
        self._is_stopping.set()
        for thread in self._threads:
            thread.join(timeout=5.0)
        while not self._work.empty():
            work = self._work.get_nowait()
            self._give_back(work.held, work.bench)

    def _guard(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as err:  # the thread's last act: nothing else could report it
            if not self._is_stopping.is_set():
                self._on_bug(err)
            raise

    def _run_gpu(self) -> None:
        while not self._is_stopping.is_set():
            self._turned_s["gpu"] = self._clock.monotonic_s()
            bench = self._benches.take(IDLE_S)
            if bench is None:
                continue
            held = self._intake.frames.take(IDLE_S)
            if held is None:
                self._benches.give_back(bench)
            else:
                self._analyse(held, bench)

    def _analyse(self, held: HeldFrame, bench: TemplateBench) -> None:
        try:
            work = self._analysis.analyse(held, bench)
            while not self._is_stopping.is_set():
                try:
                    self._work.put(work, timeout=IDLE_S)
                except queue.Full:
                    continue
                return
        except BaseException:
            self._give_back(held, bench)
            raise
        self._give_back(held, bench)

    def _run_match(self) -> None:
        while not self._is_stopping.is_set():
            self._turned_s["match"] = self._clock.monotonic_s()
            try:
                work = self._work.get(timeout=IDLE_S)
            except queue.Empty:
                continue
            try:
                self._matcher.decide(work)
            finally:
                self._benches.give_back(work.bench)

    def _give_back(self, held: HeldFrame, bench: TemplateBench) -> None:
        self._benches.give_back(bench)
        held.release()
