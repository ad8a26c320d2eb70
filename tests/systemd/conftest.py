"""A device's root for the tests of units; made for each, because tests break it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd.find import UnitRoot, make_root, require_analyser


@pytest.fixture
def root(tmp_path: Path) -> UnitRoot:
    return make_root(tmp_path / "root", require_analyser())
