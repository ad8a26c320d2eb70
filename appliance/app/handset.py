"""The command `handset`, with the broker and the clock that it runs on."""

from __future__ import annotations

import typer

from appliance.handset.command import build_app
from drivers.broker import MqttBroker
from drivers.clock import SystemClock


def build_handset_app() -> typer.Typer:
    """Return the command."""
    return build_app(MqttBroker, SystemClock())
