"""Run the small network in LiteRT once and print, as JSON, how often input and activation stay in memory.

A process of its own, started by test_runner_litert.py: `cleared`, or `kept` for the control without the run
on zeros. What is searched for is held inverted, so that it is not found for being searched.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

from models.runner_litert import LiteRtRunner
from tests.fakes.small_network import SHAPE, small_tflite


def main(is_cleared: bool) -> dict[str, int]:
    runner = LiteRtRunner(small_tflite(), threads=1)
    if not is_cleared:
        runner._clear = lambda: None  # type: ignore[method-assign]  # the control
    x = np.random.default_rng().random(SHAPE, np.float32)
    y, z = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    np.multiply(x, 2, out=z)
    inverted = {"input": np.bitwise_not(x.view(np.uint8)).tobytes()}
    inverted["activation"] = np.bitwise_not(z.view(np.uint8)).tobytes()
    z.fill(0)
    runner.bind_input("x", x)
    runner.bind_input("y", y)
    runner.bind_output("z", z)
    runner.run()
    x.fill(0)
    z.fill(0)
    return {what: found_in_memory(needle) for what, needle in inverted.items()}


def found_in_memory(inverted: bytes) -> int:
    """Count the places in this process's writable memory."""
    n_found = 0
    with open("/proc/self/mem", "rb", buffering=0) as memory:  # noqa: PTH123  not a file of a folder
        for line in Path("/proc/self/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            start, end = (int(text, 16) for text in match.groups())
            memory.seek(start)
            content = memory.read(end - start)
            n_found += np.bitwise_not(np.frombuffer(content, np.uint8)).tobytes().count(inverted)
    return n_found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1] == "cleared")))
