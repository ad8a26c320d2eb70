"""Choose the converter that the manifest names."""

from __future__ import annotations

from appliance.errors import ModelIntegrityError
from models.convert_dlib import convert_dlib
from models.convert_networks import convert_centerface, convert_chip_network, convert_yunet
from models.files import check_sha256, sha256_of
from models.graph import require_onnx
from models.manifest import ModelEntry


def convert_model(entry: ModelEntry, original: bytes) -> bytes:
    """Return the ONNX bytes that the appliance loads, checked before and after.

    Blocks: under a second.

    Raises:
        ModelIntegrityError: The original or the result has another sha256 than the manifest's.
        DependencyError: The onnx package is not installed.
    """
    require_onnx()
    check_sha256(original, entry.sha256, entry.file_name)
    converted = convert_unchecked(entry, original)
    if not entry.converted_sha256:
        raise ModelIntegrityError(
            f"{entry.id}: nobody has pinned its converted file yet; review it and pin {sha256_of(converted)}"
        )
    check_sha256(converted, entry.converted_sha256, f"{entry.id} as converted here")
    return converted


def convert_unchecked(entry: ModelEntry, original: bytes) -> bytes:
    """Return the converted bytes without holding them against the manifest; for whoever pins them."""
    spec, length = entry.preprocessing, entry.template_length
    match entry.converter:
        case "centerface":
            return convert_centerface(original, spec)
        case "yunet":
            return convert_yunet(original, spec)
        case "dlib":
            return convert_dlib(original, spec, length)
        case "chip_network":
            return convert_chip_network(original, spec, length)
