from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import load_config, resolve_path
from appliance.errors import ConfigError

GOOD = """
[appliance]
id = "box-1"
profile = "development"
state_folder = "state"

[models]
folder = "models"
pair = "centerface-dlib"
detector_width_px = 640
detector_height_px = 384
threads = 1

[[cameras]]
id = "gate"
source = "street.mp4"
rate = "real"
largest_width_px = 1280
largest_height_px = 720
least_face_width_px = 40

[decision]
frames_k = 3
frames_n = 5
cooldown_s = 60

[trust]
file = "trust.json"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[watchlist]
folder = "published"

[broker]
host = "127.0.0.1"
port = 1883

[alerts]
actionable_s = 120
retention_days = 31

[health]
port = 9464

[workers]
started_by = "supervisor"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "appliance.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file_is_read_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    config = load_config(path)
    assert config.cameras[0].least_face_width_px == 40
    assert resolve_path(path, config.appliance.state_folder) == tmp_path / "state"


def test_a_camera_has_its_zone_and_the_whole_picture_without_one(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD)).cameras[0].zone == ((0, 0), (1, 0), (1, 1), (0, 1))
    zone = "least_face_width_px = 40\nzone = [[0, 0.25], [1, 0.25], [0.5, 1]]"
    config = load_config(write(tmp_path, GOOD.replace("least_face_width_px = 40", zone)))
    assert config.cameras[0].zone == ((0, 0.25), (1, 0.25), (0.5, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("frames_k = 3\n", "", "decision.frames_k: missing key"),
        ("frames_k = 3", "frames_k = 3\nthreshold = 0.4", "decision.threshold: unknown key"),
        ("[alerts]", "[extra]\nx = 1\n[alerts]", "extra: unknown key"),
        ("frames_k = 3", "frames_k = 6", "decision.frames_k: more than"),
        ("retention_days = 31", "retention_days = 32", "alerts.retention_days: "),
        ("least_face_width_px = 40", "least_face_width_px = 39", "cameras.0.least_face_width_px: "),
        ("cooldown_s = 60", 'cooldown_s = "60"', "decision.cooldown_s: "),
        ("detector_width_px = 640", "detector_width_px = 650", "models.detector_width_px: "),
        (
            "least_face_width_px = 40",
            "least_face_width_px = 40\nzone = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]",
            "cameras.0.zone: the polygon crosses or touches itself: edges 0 and 2",
        ),
        (
            "least_face_width_px = 40",
            "least_face_width_px = 40\nzone = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.1001]]",
            "cameras.0.zone: the polygon has no area",
        ),
        (
            "least_face_width_px = 40",
            "least_face_width_px = 40\nzone = [[0.1, 0.1], [1.1, 0.1], [0.5, 0.9]]",
            "cameras.0.zone: point 1 leaves the picture",
        ),
        (
            "least_face_width_px = 40",
            "least_face_width_px = 40\nzone = [[nan, 0.1], [0.9, 0.1], [0.5, 0.9]]",
            "cameras.0.zone",
        ),
        (
            "least_face_width_px = 40",
            "least_face_width_px = 40\nzone = [[0.1, 0.1], [0.9, 0.1]]",
            "cameras.0.zone: Tuple should have at least 3 items",
        ),
        (
            "least_face_width_px = 40",
            f"least_face_width_px = 40\nzone = {[[n / 40, n % 2] for n in range(33)]}",
            "cameras.0.zone: Tuple should have at most 32 items",
        ),
        (
            "least_face_width_px = 40",
            'least_face_width_px = 40\nzone = [["0", 0], [1, 0], [1, 1]]',
            "cameras.0.zone.0.0: ",
        ),
        ('id = "box-1"', 'id = "box/#"', "appliance.id: "),
        ('profile = "development"', 'profile = "covert"', "appliance.profile: "),
        ('profile = "development"', 'profile = "production"', "broker.tls: required in production"),
        ("port = 1883", "port = ", "not a configuration"),
        ('started_by = "supervisor"', 'started_by = "units"', "workers.socket: needed for units"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    camera = GOOD[GOOD.index("[[cameras]]") : GOOD.index("[decision]")]
    with pytest.raises(ConfigError, match="same id"):
        load_config(write(tmp_path, GOOD + camera))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml")


def test_nothing_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, GOOD)
    before = load_config(path)
    for name in ("APPLIANCE_PROFILE", "DECISION_FRAMES_K", "PROFILE", "BROKER_HOST"):
        monkeypatch.setenv(name, "production")
    assert load_config(path) == before
