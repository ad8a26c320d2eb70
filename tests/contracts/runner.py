"""What every runner of networks must do, on one network: z = 2x + y, float32, (1, 32) each."""

from __future__ import annotations

import gc

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import ModelMismatchError
from models.runner import Runner

SHAPE = (1, 32)
Floats = npt.NDArray[np.float32]


def seeded(seed: int) -> Floats:
    return np.random.default_rng(seed).uniform(1, 2, SHAPE).astype(np.float32)


class RunnerContract:
    """Inherit it and provide the fixture `runner`, with the network loaded."""

    @pytest.fixture
    def bound(self, runner: Runner) -> tuple[Floats, Floats, Floats]:
        x, y, z = seeded(1), seeded(2), np.zeros(SHAPE, np.float32)
        runner.bind_input("x", x)
        runner.bind_input("y", y)
        runner.bind_output("z", z)
        return x, y, z

    def test_names_are_the_network_s(self, runner: Runner) -> None:
        assert (runner.input_names, runner.output_names) == (("x", "y"), ("z",))

    def test_run_writes_the_result_into_the_bound_memory(
        self, runner: Runner, bound: tuple[Floats, Floats, Floats]
    ) -> None:
        x, y, z = bound
        runner.run()
        np.testing.assert_allclose(z, 2 * x + y, rtol=1e-6)

    def test_run_leaves_the_inputs_as_they_are(
        self, runner: Runner, bound: tuple[Floats, Floats, Floats]
    ) -> None:
        runner.run()
        np.testing.assert_array_equal(bound[0], seeded(1))

    def test_each_run_reads_the_bound_memory_again(
        self, runner: Runner, bound: tuple[Floats, Floats, Floats]
    ) -> None:
        x, y, z = bound
        runner.run()
        x.fill(5)
        runner.run()
        np.testing.assert_allclose(z, 10 + y, rtol=1e-6)

    def test_binding_again_replaces(self, runner: Runner, bound: tuple[Floats, Floats, Floats]) -> None:
        x, _, first = bound
        other, z = seeded(3), np.zeros(SHAPE, np.float32)
        runner.bind_input("y", other)
        runner.bind_output("z", z)
        runner.run()
        np.testing.assert_allclose(z, 2 * x + other, rtol=1e-6)
        assert not first.any()

    def test_bound_memory_lives_as_long_as_it_is_bound(self, runner: Runner) -> None:
        z = np.zeros(SHAPE, np.float32)
        runner.bind_input("x", seeded(4))
        runner.bind_input("y", seeded(5))
        runner.bind_output("z", z)
        gc.collect()
        others = [np.full(SHAPE, np.nan, np.float32) for _ in range(200)]
        runner.run()
        np.testing.assert_allclose(z, 2 * seeded(4) + seeded(5), rtol=1e-6)
        assert len(others) == 200

    def test_memory_with_gaps_is_refused(self, runner: Runner) -> None:
        gaps = np.zeros((1, 64), np.float32)[:, ::2]
        with pytest.raises(ModelMismatchError, match="contiguous"):
            runner.bind_input("x", gaps)
        with pytest.raises(ModelMismatchError, match="contiguous"):
            runner.bind_output("z", gaps)

    def test_read_only_output_is_refused(self, runner: Runner) -> None:
        z = np.zeros(SHAPE, np.float32)
        z.setflags(write=False)
        with pytest.raises(ModelMismatchError, match="read-only"):
            runner.bind_output("z", z)

    def test_read_only_input_is_taken(self, runner: Runner, bound: tuple[Floats, Floats, Floats]) -> None:
        x = seeded(6)
        x.setflags(write=False)
        runner.bind_input("x", x)
        runner.run()
        np.testing.assert_allclose(bound[2], 2 * x + bound[1], rtol=1e-6)

    @pytest.mark.parametrize("name", ["", "z", "w"])
    def test_unknown_input_is_refused(self, runner: Runner, name: str) -> None:
        with pytest.raises(ModelMismatchError, match="has no"):
            runner.bind_input(name, seeded(1))

    @pytest.mark.parametrize("name", ["", "x", "w"])
    def test_unknown_output_is_refused(self, runner: Runner, name: str) -> None:
        with pytest.raises(ModelMismatchError, match="has no"):
            runner.bind_output(name, seeded(1))

    @pytest.mark.parametrize("missing", ["x", "y", "z"])
    def test_run_with_a_name_unbound_is_refused(self, runner: Runner, missing: str) -> None:
        for name in {"x", "y"} - {missing}:
            runner.bind_input(name, seeded(1))
        if missing != "z":
            runner.bind_output("z", np.zeros(SHAPE, np.float32))
        with pytest.raises(ModelMismatchError, match=f"bound to {missing}"):
            runner.run()

    @pytest.mark.parametrize("name", ["x", "z"])
    @pytest.mark.parametrize("shape", [(1, 31), (1, 33), (32,), (2, 32)], ids=str)
    def test_another_shape_is_refused(
        self, runner: Runner, bound: tuple[Floats, Floats, Floats], name: str, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(ModelMismatchError):
            self.bind_and_run(runner, name, np.zeros(shape, np.float32))

    @pytest.mark.parametrize("name", ["x", "z"])
    @pytest.mark.parametrize("kind", [np.float64, np.int32, np.uint8, np.float16])
    def test_another_type_is_refused(
        self,
        runner: Runner,
        bound: tuple[Floats, Floats, Floats],
        name: str,
        kind: type[np.generic],
    ) -> None:
        with pytest.raises(ModelMismatchError):
            self.bind_and_run(runner, name, np.zeros(SHAPE, kind))

    def test_runs_again_after_a_refusal(self, runner: Runner, bound: tuple[Floats, Floats, Floats]) -> None:
        x, y, z = bound
        with pytest.raises(ModelMismatchError):
            self.bind_and_run(runner, "x", np.zeros((1, 7), np.float32))
        runner.bind_input("x", x)
        runner.run()
        np.testing.assert_allclose(z, 2 * x + y, rtol=1e-6)

    @staticmethod
    def bind_and_run(runner: Runner, name: str, array: npt.NDArray[np.generic]) -> None:
        if name == "z":
            runner.bind_output(name, array)
        else:
            runner.bind_input(name, array)
        runner.run()
