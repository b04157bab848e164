"""How a machine's adders round stochastically: a choice of hardware that no result depends on."""

import tomllib

import numpy as np
import pytest

from quaver.golden import Accumulator, Machine, gemm, sr


@pytest.mark.parametrize("adder", ["lazy", "eager"])
def test_the_choice_survives_a_round_trip(adder: str) -> None:
    machine = Machine(sr_adder=adder)  # type: ignore[arg-type]
    assert machine.to_dict()["sr_adder"] == adder
    assert Machine.from_dict(machine.to_dict()) == machine


def test_a_file_names_it_and_lazy_is_the_default() -> None:
    assert Machine.from_dict(tomllib.loads('sr_adder = "eager"')).sr_adder == "eager"
    assert Machine.from_dict({}).sr_adder == Machine().sr_adder == "lazy"


@pytest.mark.parametrize("wrong", ["Eager", "fast", "", True, None])
def test_other_choices_are_refused(wrong: object) -> None:
    for make in (lambda: Machine(sr_adder=wrong), lambda: Machine.from_dict({"sr_adder": wrong})):  # type: ignore[arg-type]
        with pytest.raises(ValueError) as error:
            make()
        assert str(error.value) == f"sr_adder must be one of lazy, eager, not {wrong!r}"


def test_machines_differ_by_it_and_their_arithmetic_does_not() -> None:
    sums = Accumulator(rounding=sr(9))
    lazy, eager = (Machine(inner=sums, outer=sums, sr_adder=adder) for adder in ("lazy", "eager"))  # type: ignore[arg-type]
    assert lazy.digest != eager.digest
    assert lazy.arithmetic() == eager.arithmetic()
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 70)), rng.normal(size=(70, 3))
    results = [gemm(a, b, machine.arithmetic()) for machine in (lazy, eager)]
    assert results[0].size == 15
    np.testing.assert_array_equal(*results)
    assert [getattr(lazy, name) == getattr(eager, name) for name in ("latency", "adder_latency")] == [True, True]
