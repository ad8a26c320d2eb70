"""The manifest refuses what would let something unpinned in."""

from __future__ import annotations

from importlib import resources

import pytest

from appliance.errors import ConfigError, UsageError
from models.manifest import Manifest, parse_manifest

TEXT = (resources.files("models") / "manifest.toml").read_text("utf-8")


def test_default_pair_is_not_for_production(manifest: Manifest) -> None:
    assert manifest.pairs[0].id == "centerface-dlib"
    assert not manifest.pairs[0].is_production


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('address = "https://', 'address = "http://'),
        ('address = "https://', 'address = "file://'),
        ('role = "detector"', 'role = "oracle"'),
        ('role = "detector"', 'role = "embedder"'),
        ('licence = "MIT"\n', ""),
        ('licence = "MIT"', 'licence = "MIT"\nsurprise = 1'),
        ('file_name = "centerface.onnx"', 'file_name = "../centerface.onnx"'),
        ("size_bytes = 7304518", "size_bytes = 0"),
        ('sha256 = "09189', 'sha256 = "XY189'),
        ('detector = "centerface-1"', 'detector = "nothing"'),
        ("[[models]]", "[[models"),
    ],
)
def test_bad_manifest_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=r"manifest\.toml"):
        parse_manifest(TEXT.replace(old, new, 1))


def test_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_manifest(TEXT.replace('id = "astronaut"', 'id = "grace_hopper"'))


def test_unknown_names_are_usage_errors(manifest: Manifest) -> None:
    for look_up in (manifest.model, manifest.pair, manifest.picture):
        with pytest.raises(UsageError, match="there are"):
            look_up("nothing")


def test_no_registry_is_named() -> None:
    assert "pypi" not in TEXT.lower()
