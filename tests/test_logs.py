from __future__ import annotations

import logging

import numpy as np
import pytest

from appliance.logs import FORMAT, SecretFilter


def logged(message: str, *arguments: object) -> str:
    record = logging.LogRecord("appliance.x", logging.INFO, "x.py", 1, message, arguments, None)
    assert SecretFilter().filter(record)
    return logging.Formatter(FORMAT).format(record)


@pytest.mark.parametrize(
    "value",
    [np.linspace(0, 1, 8, dtype=np.float32), b"\xff\xd8picture", bytearray(8), memoryview(b"abcd")],
)
def test_arrays_and_bytes_are_cut(value: object) -> None:
    assert "[cut: " in logged("probe %s", value)
    assert "0.14" not in logged("probe %s", value)


def test_credentials_are_cut_from_addresses() -> None:
    text = logged("opening %s", "rtsp://admin:secret@10.0.0.8/stream")
    assert "secret" not in text
    assert "rtsp://10.0.0.8/stream" in text


def test_what_looks_like_a_key_is_cut() -> None:
    assert "a" * 64 not in logged("key %s", "a" * 64)


def test_an_ordinary_line_stays() -> None:
    assert logged("camera %s: %d frames", "gate", 250).endswith("camera gate: 250 frames")
