"""Run a typer application: an expected failure is one line and its exit code, never a trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from appliance.errors import ApplianceError


def run_application(application: Callable[[], object]) -> None:
    """Run it; on ApplianceError print `error[code]: message` and end with the error's exit code."""
    # Before anything imports ONNX Runtime, which otherwise writes telemetry below the home folder.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        application()
    except ApplianceError as err:
        sys.stderr.write(f"error[{err.code}]: {' '.join(str(err).split())}\n")
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
