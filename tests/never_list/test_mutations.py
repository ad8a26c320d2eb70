"""Each line of the never list has its file here, and each file's rules are broken one by one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.never_list.mutation import PYTEST_FAILED, Mutation, run_mutated

FOLDER = Path(__file__).resolve().parent
FILES = sorted(FOLDER.glob("test_[01][0-9]_*.py"))
LINES = range(1, 11)


def mutations() -> list[tuple[Path, Mutation]]:
    return [
        (file, mutation)
        for file in FILES
        for mutation in importlib.import_module(f"tests.never_list.{file.stem}").MUTATIONS
    ]


def test_each_line_has_its_file_with_a_mutation() -> None:
    with_mutations = {int(file.stem[5:7]) for file, _ in mutations()}
    assert with_mutations == set(LINES)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("file", "mutation"), [pytest.param(*each, id=f"{each[0].stem}-{each[1].test}") for each in mutations()]
)
def test_the_broken_rule_turns_its_test_red(file: Path, mutation: Mutation, tmp_path: Path) -> None:
    result = run_mutated(mutation, file, tmp_path)
    assert result.returncode == PYTEST_FAILED, result.stdout[-2000:] + result.stderr[-2000:]
