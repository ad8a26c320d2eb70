"""Never list, line 5: nobody is enrolled from the stream; nobody who did not match can be searched for; no
attribute is inferred from anybody; no covert mode; no following of an unmatched person across cameras, and no
two tracks' templates are ever compared.

Built and tested here: what can come into the vision worker's process and into `appliance run` at all; that a
gallery is made of a list alone; that tracks and cameras do not add up; the closed sets of category and use
case; that no command takes a picture to search with. What the networks put out is held by tests/test_surface.

Not built yet: nothing of this line is left to build. It is a line about what is refused by design.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing

import pytest

from appliance.records.channel import CHANNEL_RECORDS
from appliance.records.deployment import UseCase
from appliance.records.frames import Box, Face
from appliance.records.ids import EntryId, TrackId
from appliance.records.watchlist import Candidate, Category
from appliance.schemas.generate import WIRE_RECORDS
from appliance.vision.decision import Decider
from appliance.vision.tracks import Tracker
from tests.fakes.house import CAMERA, OTHER_CAMERA, House
from tests.fakes.networks import make_face, unit
from tests.never_list.imports import callers_of, importers_of, reached_from
from tests.never_list.mutation import Mutation
from tests.surface.look import commands

ATTRIBUTES = {
    *("age", "sex", "gender", "male", "female", "ethnic", "ethnicity", "race", "skin", "emotion", "mood"),
    *("smile", "expression", "religion", "disability", "covert"),
}
AGES_OF_THINGS = {"oldest_decoder_age_s"}
SEARCHING = re.compile(r"search|identif|lookup|find|match|compare|recogni[sz]e|track|follow|covert|replay")
# A measure over a test set of public pictures; a watchlist is not among its inputs.
PICTURE_OPTIONS = re.compile(r"probe|picture|image|photo|face")
PICTURES_ALLOWED = {
    "models fetch --pictures",  # fetches the two portraits of the demonstration
    "ops enrol PICTURES",  # enrolment by ops, of references
}

MUTATIONS = [
    Mutation(
        file="appliance/app/watchlist_source.py",
        old="from appliance.errors import StorageError",
        new="from appliance.errors import StorageError\nfrom appliance.watchlist.enrolment import Enroller",
        test="test_nothing_that_enrols_can_come_into_the_appliance_s_processes",
    ),
    Mutation(
        file="appliance/vision/decision.py",
        old="        votes = self._votes_of((camera_id, track_id))",
        new="        votes = self._votes_of((camera_id, TrackId(0)))",
        test="test_two_tracks_never_add_up",
    ),
    Mutation(
        file="appliance/vision/decision.py",
        old="        votes = self._votes_of((camera_id, track_id))",
        new='        votes = self._votes_of((CameraId(""), track_id))',
        test="test_two_cameras_never_add_up",
    ),
    Mutation(
        file="appliance/vision/analysis.py",
        old="{camera_id: Tracker() for camera_id in gates}",
        new="dict.fromkeys(gates, Tracker())",
        test="test_nobody_is_followed_from_camera_to_camera",
    ),
    Mutation(
        file="appliance/vision/pipeline.py",
        old="        self._on_bug = on_bug",
        new="        self._on_bug = on_bug\n        if False:\n"
        "            from appliance.vision.gallery import Gallery\n            Gallery([], None)",
        test="test_a_gallery_is_made_of_an_opened_list_alone",
    ),
    Mutation(
        file="appliance/records/frames.py",
        old="    detection_score: float",
        new="    detection_score: float\n    gender: float = 0.0",
        test="test_a_face_has_a_place_and_no_attributes",
    ),
    Mutation(
        file="appliance/records/deployment.py",
        old='    TEST_WITH_VOLUNTEERS = "test_with_volunteers"',
        new='    TEST_WITH_VOLUNTEERS = "test_with_volunteers"\n    COVERT = "covert"',
        test="test_there_is_no_covert_use",
    ),
    Mutation(
        file="appliance/__main__.py",
        old='@app.command(name="verify-audit")',
        new='@app.command()\ndef identify(picture: Path) -> None:\n    """Search."""\n\n\n'
        '@app.command(name="verify-audit")',
        test="test_no_command_searches_for_somebody",
    ),
]


@pytest.mark.parametrize(
    "process", ["appliance.app.vision_process", "appliance.app.capture_process", "appliance.app.run"]
)
def test_nothing_that_enrols_can_come_into_the_appliance_s_processes(process: str) -> None:
    reached = reached_from(process)
    assert process in reached
    assert "appliance.watchlist.enrolment" not in reached
    assert not [module for module in reached if module.startswith("provisioning")]


def test_only_the_outside_enrols() -> None:
    outside = ("provisioning.", "appliance.app.demo.")
    assert [
        each for each in importers_of("appliance.watchlist.enrolment") if not each.startswith(outside)
    ] == []


def test_a_gallery_is_made_of_an_opened_list_alone() -> None:
    assert callers_of("Gallery") == {"appliance.app.vision_process:ArmedParts"}
    assert callers_of("open_sealed_list") == {"appliance.app.vision_process:ArmedParts"}


def candidate() -> Candidate:
    return Candidate(entry_id=EntryId("a"), score=0.95, rank=1)


def test_two_tracks_never_add_up() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    for track in range(5):
        assert decider.note(CAMERA, TrackId(track), [candidate()]) == ()


def test_two_cameras_never_add_up() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    for camera_id in (CAMERA, OTHER_CAMERA):
        assert decider.note(camera_id, TrackId(1), [candidate()]) == ()


def test_nobody_is_followed_from_camera_to_camera() -> None:
    house = House()
    house.template_of = lambda pixels, points: unit(0.0, 1.0)  # one stranger, whom both cameras see
    house.pipeline.start()
    for number in range(4):
        house.show(number, CAMERA if number % 2 else OTHER_CAMERA)
    house.stop()
    # Each camera has its own track of the person; nothing says that it was one.
    tracks = [tracker._tracks for tracker in house.analysis._trackers.values()]
    assert [[track.n_frames for track in each] for each in tracks] == [[2], [2]]
    assert house.alerts == []


def test_tracking_knows_boxes_and_times_alone() -> None:
    hints = typing.get_type_hints(Tracker.update)
    assert {name: str(hint) for name, hint in hints.items() if name != "return"} == {
        "boxes": f"collections.abc.Sequence[{Box.__module__}.Box]",
        "now_s": "<class 'float'>",
    }
    assert not [name for name in reached_names(Tracker) if "template" in name or "pixels" in name]


def reached_names(kind: type[object]) -> set[str]:
    module = inspect.getmodule(kind)
    assert module is not None
    source = "\n".join(inspect.getsource(module).split('"""')[2::2])  # code, without docstrings
    return set(re.findall(r"[a-z_]+", source))


def test_a_walk_of_strangers_leaves_no_link_between_them() -> None:
    house = House()
    house.faces = [make_face(width_px=60), make_face(x_px=220, width_px=60)]
    house.template_of = lambda pixels, points: unit(0.0, 1.0)  # both look the same
    house.pipeline.start()
    for number in range(4):
        house.show(number)
    house.stop()
    first, second = house.analysis._trackers[CAMERA]._tracks
    assert first.track_id != second.track_id
    assert house.alerts == []
    assert not any(votes.alerted or any(votes.frames) for votes in house.decider._tracks.values())


def test_a_face_has_a_place_and_no_attributes() -> None:
    assert {field.name for field in dataclasses.fields(Face)} == {"box", "points", "detection_score"}


def test_no_record_has_room_for_an_attribute() -> None:
    found = [
        f"{kind.__name__}.{field.name}"
        for kind in {*WIRE_RECORDS, *CHANNEL_RECORDS}
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]  # all of them are dataclasses
        if ATTRIBUTES & set(field.name.split("_")) and field.name not in AGES_OF_THINGS
    ]
    assert found == []


def test_there_is_no_covert_use() -> None:
    assert {each.value for each in UseCase} == {
        "hot_spot",
        "protective_security",
        "intelligence_on_location",
        "test_with_volunteers",
    }
    assert not [each for each in (*UseCase, *Category) if ATTRIBUTES & set(each.value.split("_"))]


def test_no_command_searches_for_somebody() -> None:
    found = commands()
    verbs = {item.split()[-1] for item in found if not item.split()[-1].startswith("-")}
    assert not [verb for verb in verbs if SEARCHING.search(verb)]
    with_pictures = {item for item in found if PICTURE_OPTIONS.search(item.lower())}
    assert with_pictures <= PICTURES_ALLOWED
