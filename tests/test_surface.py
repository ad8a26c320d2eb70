"""The surface: everything by which the system is reached, told or read, held against committed lists.

tests/surface/*.json name each item with the lines of the never list that it was checked against, by a person.
There is no command that adds what is missing: that would be an approval by nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.never_list.imports import modules
from tests.surface import look

FOLDER = Path(__file__).resolve().parent / "surface"
MODELS_FOLDER = look.REPOSITORY / ".cache" / "models"
LINES = range(1, 11)
MAY_BE_EMPTY = {"routes"}
SURFACES: dict[str, Callable[[], list[str]]] = {
    "audit": look.audit_kinds,
    "channel": look.channel_records,
    "commands": look.commands,
    "configuration": look.configuration,
    "models": look.model_outputs,
    "routes": look.routes,
    "topics": look.topics,
    "wire": look.wire_records,
}


def problems_of(found: list[str], listed: dict[str, list[int]], name: str) -> list[str]:
    """Return what a person has to do before list and code agree, one line for each item."""
    file = f"tests/surface/{name}.json"
    problems = [
        f"{file}: {item!r} is new. Check it against the never list, then add it with the lines that you "
        f"checked it against:    {json.dumps(item)}: [LINES],"
        for item in found
        if item not in listed
    ]
    problems += [f"{file}: {item!r} is gone: take it out" for item in listed if item not in set(found)]
    problems += [
        f"{file}: {item!r} names no lines of the never list: 1 to 10, in order, at least one"
        for item, lines in listed.items()
        if not lines or lines != sorted(set(lines)) or not set(lines) <= set(LINES)
    ]
    return problems


def listed_in(name: str) -> dict[str, list[int]]:
    listed: dict[str, list[int]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return listed


@pytest.mark.parametrize("name", sorted(SURFACES))
def test_every_item_is_listed_with_the_lines_it_was_checked_against(name: str) -> None:
    problems = problems_of(SURFACES[name](), listed_in(name), name)
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("name", sorted(SURFACES))
def test_a_list_is_sorted_and_there_is_no_other(name: str) -> None:
    assert list(listed_in(name)) == sorted(listed_in(name))
    assert {path.stem for path in FOLDER.glob("*.json")} == SURFACES.keys()


def test_each_line_of_the_never_list_was_checked_against() -> None:
    checked = {line for name in SURFACES for lines in listed_in(name).values() for line in lines}
    assert checked == set(LINES)


def test_a_new_item_fails_and_says_what_to_add() -> None:
    (problem,) = problems_of(["old", "new --search"], {"old": [5]}, "commands")
    assert '"new --search": [LINES],' in problem
    assert "tests/surface/commands.json" in problem


@pytest.mark.parametrize("lines", [[], [0], [11], [5, 2], [5, 5]], ids=str)
def test_an_item_without_lines_fails(lines: list[int]) -> None:
    (problem,) = problems_of(["old"], {"old": lines}, "commands")
    assert "names no lines" in problem


def test_an_item_that_is_gone_fails() -> None:
    (problem,) = problems_of([], {"old": [5]}, "commands")
    assert "is gone" in problem


@pytest.mark.parametrize("name", sorted(SURFACES.keys() - MAY_BE_EMPTY))
def test_every_surface_is_looked_at(name: str) -> None:
    assert SURFACES[name](), "an empty look would agree with an empty list"


def test_the_installed_commands_are_those_looked_at() -> None:
    setup = (look.REPOSITORY / "setup.py").read_text(encoding="utf-8")
    scripts = set(re.findall(r'"(\w+)=[\w.]+:\w+"', setup))
    assert {"appliance", "handset", "models", "ops"} <= scripts
    assert scripts <= {item.split()[0] for item in look.commands()}


@pytest.mark.skipif(not MODELS_FOLDER.is_dir(), reason="no models are fetched here")
def test_the_graphs_put_out_what_is_listed_and_nothing_else() -> None:
    graphs = look.graph_outputs(MODELS_FOLDER)
    for model, outputs in graphs.items():
        assert [f"{model}: {output}" for output in outputs] == [
            item for item in look.model_outputs() if item.startswith(f"{model}: ")
        ]


def test_every_process_that_the_appliance_starts_is_looked_at() -> None:
    processes = {f"python -m {each}" for each in modules() if each.endswith("_process")}
    assert processes
    assert processes <= set(look.commands())
