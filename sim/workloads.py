"""The built-in workloads."""

from collections.abc import Callable

from quaver.golden.errors import check_choice
from quaver.sim.network import Workload
from quaver.sim.resnet import resnet18_layers

WORKLOADS: dict[str, Callable[[], Workload]] = {
    "resnet18": lambda: Workload(name="resnet18", layers=resnet18_layers()),
}
"""The built-in workloads."""


def workload_named(name: str) -> Workload:
    """Build a built-in workload; ValueError lists the names there are."""
    check_choice("workload", name, WORKLOADS)
    return WORKLOADS[name]()
