"""Who the appliance is at its broker, from the configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from appliance.config import Config, resolve_path
from appliance.errors import ConfigError
from appliance.records.broker import BrokerAccess


def broker_access(config: Config, config_path: Path) -> BrokerAccess:
    """Return how to reach the broker; ConfigError for a password file that is missing or open to others."""
    broker, name = config.broker, config.appliance.id
    path = partial(resolve_path, config_path)
    return BrokerAccess(
        address=f"{broker.host}:{broker.port}",
        identifier=name,
        username=name if broker.password_file else None,
        password=_read_password(path(broker.password_file)) if broker.password_file else None,
        ca_file=str(path(broker.tls.authority)) if broker.tls else None,
        certificate_file=str(path(broker.tls.certificate)) if broker.tls else None,
        key_file=str(path(broker.tls.key)) if broker.tls else None,
    )


def _read_password(path: Path) -> str:
    """Return the one line of a password file; ConfigError when it is missing or open to others."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: readable by others; run `chmod 600 {path}`")
        return path.read_text(encoding="utf-8").strip()
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}") from err
