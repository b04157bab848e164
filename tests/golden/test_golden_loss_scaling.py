"""Loss scales: the papers' rules as sequences worked out by hand, and states that come back from JSON."""

import json
from fractions import Fraction
from math import exp2, inf, log2, nan

import numpy as np
import pytest

from quaver.golden import encode, noune
from quaver.golden.loss_scaling import BackOff, ConstantScale, LogMax, LossScaling, RisingFloor, loss_scaling
from quaver.golden.noune_biases import noune_bias

C, X, N = 1.0, inf, nan
"""A clean step, an infinite gradient, a NaN."""


def scales(policy: LossScaling, steps: list[float]) -> list[float]:
    """The scale after each step."""
    seen = []
    for amax in steps:
        policy = policy.updated(amax)
        seen.append(policy.scale)
    return seen


def test_a_constant_scale():
    assert scales(ConstantScale(), [C, X, N, 0.0]) == [1000.0] * 4
    assert ConstantScale(scale=100).updated(C).scale == 100


def test_back_off_by_hand():
    policy = BackOff(scale=8.0, interval=3, minimum=2.0, maximum=32.0)
    steps = [C, C, C, C, X, C, C, C, C, C, C, C, C, C, N, X, X, X, X, C, C, N, C, C, C]
    want = [8, 8, 16, 16, 8, 8, 8, 16, 16, 16, 32, 32, 32, 32, 16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 4]
    assert len(want) == len(steps) == 25
    assert scales(policy, steps) == want


def test_back_off_doubles_after_2000_clean_steps():
    """Noune et al.: skip and halve on a NaN, double after 2000 clean steps."""
    policy = BackOff(scale=1024.0)
    assert scales(policy, [C] * 4001)[1998:2001] == [1024.0, 2048.0, 2048.0]
    assert scales(policy, [C] * 4001)[3998:4001] == [2048.0, 4096.0, 4096.0]
    halved = scales(policy, [C] * 1999 + [N] + [C] * 2000)
    assert halved[1998:2000] == [1024.0, 512.0]
    assert halved[-2:] == [512.0, 1024.0]


def test_a_state_does_not_change():
    policy = BackOff(scale=4.0, interval=1)
    assert policy.updated(C).scale == 8.0
    assert policy.updated(X).scale == 2.0
    assert policy == BackOff(scale=4.0, interval=1)


def test_a_floor_that_rises_by_hand():
    policy = RisingFloor(scale=4.0, interval=2, minimum=1.0, maximum=64.0, floors=((3, 8.0), (6, 32.0)))
    #        1  2  3  4  5  6   7   8   9   10
    steps = [X, X, C, C, X, C, C, X, C, C]
    #  Two halvings; lifted to 8, and doubled after the second clean step; halved to the floor; lifted to 32 at step 6,
    #  which is also the first clean step; doubled after the second; halved, not below 32; doubled again.
    want = [2, 1, 8, 16, 8, 32, 64, 32, 32, 64]
    assert scales(policy, steps) == want
    assert [policy.floor_at(i) for i in (0, 2, 3, 5, 6, 1000)] == [0, 0, 8, 8, 32, 32]


def test_without_floors_it_is_back_off():
    rng = np.random.default_rng(4)
    steps = rng.choice([C, X, N], 500, p=[0.8, 0.1, 0.1]).tolist()
    limits = {"scale": 256.0, "interval": 3, "minimum": 1.0, "maximum": 2.0**20}
    plain, floored = scales(BackOff(**limits), steps), scales(RisingFloor(**limits, floors=()), steps)
    assert plain == floored
    assert len(set(plain)) > 4


def test_a_floor_is_a_lower_bound():
    """Mellempudi et al.: the scale is the maximum of the dynamic one and a threshold of the iteration."""
    rng = np.random.default_rng(5)
    steps = rng.choice([C, X], 400, p=[0.4, 0.6]).tolist()
    policy = RisingFloor(scale=2.0, interval=2, floors=((100, 16.0), (200, 512.0)))
    seen = scales(policy, steps)
    assert min(seen[:99]) == 1.0
    assert min(seen[99:199]) == 16.0
    assert min(seen[199:]) == 512.0
    assert seen[99:].count(16.0) > 10


# -------------------------------------------------------------------------------------------------------------- LogMax


def test_log_max_puts_a_steady_maximum_at_the_top():
    """A power of two below the largest number is a scale of that power of two, at once and for good."""
    policy = LogMax()
    assert policy.scale == 2.0**16
    assert policy.amax == 0.0
    for _ in range(300):
        policy = policy.updated(57344 * 2.0**-22)
        assert policy.scale == 2.0**22
        assert abs(policy.top - log2(57344 * 2.0**-22)) < 1e-12


def test_log_max_is_the_bias_of_the_paper():
    """The paper: LogMax's typical 2^22 is a bias of 37 in 1.5.2."""
    largest = noune(5, 2, 15).max_finite
    policy = LogMax(largest=largest).updated(largest * 2.0**-22 * 0.999)
    assert policy.scale == 2.0**22
    assert noune_bias(policy.amax, 5, 2) == 37
    assert encode([policy.amax * policy.scale], noune(5, 2, 15)).tolist() == [0x7F]
    assert encode([policy.amax], noune(5, 2, 37)).tolist() == [0x7F]


@pytest.mark.parametrize("c", [0.0, 1.0, -0.5, 3.0])
def test_log_max_is_a_weighted_mean_and_deviation(c):
    """Against the definition: weights proportional to decay^age, in fractions."""
    rng = np.random.default_rng(6)
    logs = rng.integers(-40, 0, 60).tolist()  # integers, so that the logarithms are exact
    policy = LogMax(c=c, decay=0.75)
    compared = 0
    for count, x in enumerate(logs, 1):
        policy = policy.updated(2.0**x)
        weights = [Fraction(3, 4) ** (count - 1 - i) for i in range(count)]
        mean = sum(w * x for w, x in zip(weights, logs, strict=False)) / sum(weights)
        variance = sum(w * (x - mean) ** 2 for w, x in zip(weights, logs, strict=False)) / sum(weights)
        top = float(mean) + c * float(variance) ** 0.5
        assert abs(policy.top - top) < 1e-6 * (1 + abs(c))
        wanted = log2(57344) - top
        if abs(wanted - round(wanted)) < 0.499:
            assert policy.scale == min(max(2.0 ** round(wanted), 1.0), 2.0**40)
            compared += 1
    assert compared > 50


def test_log_max_skips_what_has_no_logarithm():
    policy = LogMax().updated(0.5)
    for amax in (0.0, -0.0, inf, nan):
        assert policy.updated(amax) is policy
        assert LogMax().updated(amax) == LogMax()


def test_log_max_stays_within_its_limits():
    policy = LogMax(minimum=4.0, maximum=16.0, initial=8.0)
    assert policy.updated(1e-300).scale == 16.0
    assert policy.updated(1e300).scale == 4.0
    assert LogMax(c=-1e300).updated(1.0).updated(2.0).scale == 2.0**40
    assert LogMax(c=1e6).updated(2.0**-1000).updated(2.0**1000).amax == exp2(1023.0)


# ---------------------------------------------------------------------------------------------------------------- JSON

POLICIES: list[LossScaling] = [
    ConstantScale(scale=0.1),
    BackOff(interval=5),
    RisingFloor(interval=4, floors=((10, 2.0**17), (30, 2.0**18)), maximum=2.0**20),
    LogMax(c=1.5, decay=0.9),
    LogMax(largest=np.float32(240.0)),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_a_training_resumes_with_the_same_bits(policy):
    rng = np.random.default_rng(7)
    steps = np.where(rng.random(60) < 0.15, inf, rng.random(60) * 1e-3).tolist()
    straight = scales(policy, steps)
    resumed = []
    for amax in steps:
        table = json.loads(json.dumps(policy.to_dict()))
        assert table == policy.to_dict()
        again = loss_scaling(table)
        assert again == policy
        assert type(again) is type(policy)
        policy = again.updated(amax)
        resumed.append(policy.scale)
    assert resumed == straight
    assert len(resumed) == 60


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: ConstantScale(scale=0), "scale must be a finite number above 0, not 0.0"),
        (lambda: ConstantScale(scale=nan), "scale must be a finite number above 0, not nan"),
        (lambda: ConstantScale(scale=-inf), "scale must be a finite number above 0, not -inf"),
        (lambda: BackOff(scale=1000.0), "scale must be a power of two, not 1000.0"),
        (lambda: BackOff(scale=nan), "scale must be a power of two, not nan"),
        (lambda: BackOff(scale=inf), "scale must be a power of two, not inf"),
        (lambda: BackOff(scale=0.5), "scale must be in 1.0..16777216.0, not 0.5"),
        (lambda: BackOff(minimum=3), "minimum must be a power of two, not 3.0"),
        (lambda: BackOff(maximum=0), "maximum must be a power of two, not 0.0"),
        (lambda: BackOff(minimum=4.0, maximum=2.0), "maximum must be at least minimum = 4.0, not 2.0"),
        (lambda: BackOff(interval=0), f"interval must be an integer in 1..{2**63 - 1}, not 0"),
        (lambda: BackOff(interval=3, clean=3), "clean must be an integer in 0..2, not 3"),
        (lambda: BackOff().updated(-1), "amax must not be negative, not -1.0"),
        (lambda: LogMax().updated(-inf), "amax must not be negative, not -inf"),
        (lambda: ConstantScale().updated(-2.0), "amax must not be negative, not -2.0"),
        (lambda: RisingFloor(floors=((0, 3.0),)), "floors[0] must be a power of two, not 3.0"),
        (lambda: RisingFloor(floors=((0, 2.0**25),)), "floors[0] must be in 0.0..16777216.0, not 33554432.0"),
        (lambda: RisingFloor(floors=((0, 8.0), (5, 4.0))), "floors[1] must be in 8.0..16777216.0, not 4.0"),
        (
            lambda: RisingFloor(floors=((5, 8.0), (5, 16.0))),
            f"iteration of floors[1] must be an integer in 6..{2**63 - 1}, not 5",
        ),
        (
            lambda: RisingFloor(floors=(4, 8.0)),
            "floors must be a tuple of pairs (iteration, floor), not (4, 8.0)",
        ),
        (
            lambda: RisingFloor(scale=4.0, floors=((2, 8.0),), iteration=3),
            "scale must be at least 8.0, the floor of iteration 3, not 4.0",
        ),
        (lambda: RisingFloor(floors=(), iteration=-1), f"iteration must be an integer in 0..{2**63 - 1}, not -1"),
        (lambda: LogMax(largest=0), "largest must be a finite number above 0, not 0.0"),
        (lambda: LogMax(c=nan), "c must be finite, not nan"),
        (lambda: LogMax(decay=1.0), "decay must be at least 0 and below 1, not 1.0"),
        (lambda: LogMax(initial=3.0), "initial must be a power of two, not 3.0"),
        (lambda: LogMax(initial=0.5), "initial must be in 1.0..1099511627776.0, not 0.5"),
        (lambda: LogMax(weight=-1.0), "weight must be a finite number of at least 0, not -1.0"),
        (lambda: LogMax(total=inf), "total must be finite, not inf"),
        (lambda: LogMax(squares=nan), "squares must be a finite number of at least 0, not nan"),
        (lambda: loss_scaling({}), "kind must be one of ConstantScale, BackOff, RisingFloor, LogMax, not None"),
        (
            lambda: loss_scaling({"kind": "backoff"}),
            "kind must be one of ConstantScale, BackOff, RisingFloor, LogMax, not 'backoff'",
        ),
        (lambda: loss_scaling({"kind": "ConstantScale"}), "scale of ConstantScale is missing"),
        (lambda: LogMax.from_dict(BackOff().to_dict()), "kind must be one of LogMax, not 'BackOff'"),
        (
            lambda: loss_scaling(BackOff().to_dict() | {"factor": 2}),
            "key of BackOff must be one of kind, scale, interval, minimum, maximum, clean, not 'factor'",
        ),
        (
            lambda: loss_scaling(BackOff().to_dict() | {"scale": nan}),
            "scale must be a power of two, not nan",
        ),
    ],
)
def test_bad_values_are_refused(call, text, message):
    assert message(call) == text


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: ConstantScale(scale="8"), "scale must be a real number, not '8'"),
        (lambda: BackOff(scale=None), "scale must be a real number, not None"),
        (lambda: BackOff().updated("inf"), "amax must be a real number, not 'inf'"),
        (lambda: BackOff().updated(True), "amax must be a real number, not True"),
        (lambda: LogMax(c=[1]), "c must be a real number, not [1]"),
        (lambda: RisingFloor(floors=((0, "8"),)), "floors[0] must be a real number, not '8'"),
    ],
)
def test_wrong_types_are_refused(call, text, message):
    assert message(call, TypeError) == text
