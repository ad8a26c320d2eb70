"""Each line of the never list has its file here, and each file's rules are broken one by one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.never_list.mutation import (
    PYTEST_PASSED,
    REPOSITORY,
    Mutation,
    applied,
    copy_repository,
    run_copy,
    why_not_red,
)

FOLDER = Path(__file__).resolve().parent
FILES = sorted(FOLDER.glob("test_[01][0-9]_*.py"))
LINES = range(1, 11)
# The copy is made within the first test's time.
pytestmark = pytest.mark.timeout(120)


def mutations() -> list[tuple[Path, Mutation]]:
    return [
        (file, mutation)
        for file in FILES
        for mutation in importlib.import_module(f"tests.never_list.{file.stem}").MUTATIONS
    ]


def target_of(file: Path, test: str) -> str:
    return f"{file.relative_to(REPOSITORY).as_posix()}::{test}"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which every test that a mutation names is green: else its red would prove nothing."""
    folder = tmp_path_factory.mktemp("unbroken")
    copy_repository(folder)
    targets = sorted({target_of(file, mutation.test) for file, mutation in mutations()})
    result = run_copy(folder, targets, keeps_compiled=True)
    assert result.returncode == PYTEST_PASSED, result.stdout[-3000:] + result.stderr[-2000:]
    return folder


def test_each_line_has_its_file_with_a_mutation() -> None:
    with_mutations = {int(file.stem[5:7]) for file, _ in mutations()}
    assert with_mutations == set(LINES)


def test_a_mutation_s_red_is_told_from_a_broken_program(unbroken: Path) -> None:
    file, any_mutation = mutations()[0]
    no_program = Mutation(
        file="appliance/flow.py", old="import threading", new="import no_such", test=any_mutation.test
    )
    with applied(no_program, unbroken):
        assert why_not_red(run_copy(unbroken, [target_of(file, no_program.test)])) is not None


@pytest.mark.parametrize(
    ("file", "mutation"),
    [pytest.param(*each, id=f"{number}-{each[1].test}") for number, each in enumerate(mutations())],
)
def test_the_broken_rule_turns_its_test_red(file: Path, mutation: Mutation, unbroken: Path) -> None:
    with applied(mutation, unbroken):
        result = run_copy(unbroken, [target_of(file, mutation.test)])
    assert why_not_red(result) is None, result.stdout[-3000:] + result.stderr[-2000:]
