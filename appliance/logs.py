"""Logging for every process: one event per line, to standard error; what must not be logged is cut out."""

from __future__ import annotations

import logging
import re

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")
_LONG_SECRET = re.compile(r"\b(?:[0-9a-fA-F]{48,}|[A-Za-z0-9+/]{64,}={0,2})\b")
_FORBIDDEN_EXTRAS = frozenset({"template", "name", "score", "picture", "key", "password", "person"})


class SecretFilter(logging.Filter):
    """Cut credentials and anything that looks like a key, a template or a picture out of a record.

    An array or bytes as an argument is replaced whole: nobody logs pixels, not even by mistake.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record in place; it is always kept."""
        if isinstance(record.args, tuple):
            record.args = tuple(_clean_value(value) for value in record.args)
        record.msg = _clean_text(str(record.msg)) if not record.args else record.msg
        message = _clean_text(record.getMessage())
        record.msg, record.args = message, ()
        for name in _FORBIDDEN_EXTRAS & record.__dict__.keys() - {"name"}:
            record.__dict__[name] = "[cut]"
        return True


def set_up_logging(level: int = logging.INFO) -> None:
    """Send the root logger's records to standard error through the filter."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(SecretFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _clean_value(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "__array_interface__"):
        return f"[cut: {type(value).__name__}]"
    return value


def _clean_text(text: str) -> str:
    return _LONG_SECRET.sub("[cut]", _CREDENTIALS.sub(r"\1", text))
