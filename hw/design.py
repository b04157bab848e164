"""One Verilog module per distinct component.

Amaranth emits a module per instance: a 128 x 128 array would be 16,384 copies of one PE and minutes of elaboration.
`place` puts a component into its parent either as a submodule, as always, or, where the platform is a `Design`, as an
instance of a module that the design holds once.
"""

import re
from collections.abc import Hashable

from amaranth._toolchain.yosys import _BuiltinYosys
from amaranth.back.rtlil import convert_fragment
from amaranth.hdl import ClockSignal, Const, Fragment, Instance, Module, ResetInserter, ResetSignal, Value
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring


class Design:
    """A platform that collects the RTLIL of each distinct component; two are the same if class and arguments are.

    Parameters
    ----------
    prefix:
        What the names of all modules begin with, before an underscore.
    """

    def __init__(self, prefix: str = "quaver") -> None:
        self.prefix = prefix
        self._names: dict[tuple[Hashable, ...], str] = {}
        self._signatures: dict[str, wiring.Signature] = {}
        self._rtlil: dict[str, str] = {}

    def add(self, component_class: type[wiring.Component], *args: Hashable) -> str:
        """Name of the module of `component_class(*args)`, elaborated at the first call."""
        key = (component_class, *args)
        if key not in self._names:
            component = component_class(*args)
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", component_class.__name__).lower()
            stem = f"{self.prefix}_{name}"
            variants = sum(other is component_class for other, *_ in self._names)
            self._names[key] = unique = f"{stem}_{variants}" if variants else stem
            self._signatures[unique] = component.signature
            ports = {path: (value, _DIRECTIONS[flow]) for path, value, flow in _flat_ports(component)}
            fragment = Fragment.get(component, self)
            text = convert_fragment(fragment, ports, unique, emit_src=False)[0]
            # Submodules are named with dots, which Verilog would have to escape.
            inner = re.escape(f"\\{unique}.") + r"[\w.$]+"
            self._rtlil[unique] = re.sub(inner, lambda name: name[0].replace(".", "_"), text)
        return self._names[key]

    def instance(self, m: Module, label: str, module: str, reset: Value | None = None) -> wiring.PureInterface:
        """Instantiate `module` in `m` as `label`, with a `reset` of its own; returns its ports."""
        interface = self._signatures[module].create(path=(label,))
        connections = [("i" if flow == wiring.In else "o", path, value) for path, value, flow in _flat_ports(interface)]
        if re.search(r"(?m)^  wire width 1 input \d+  \\clk$", self._rtlil[module]):
            also = Const(0) if reset is None else reset
            connections += [("i", "clk", ClockSignal()), ("i", "rst", ResetSignal() | also)]
        m.submodules[label] = Instance(module, *connections)
        return interface

    def verilog(self) -> str:
        """Verilog of all modules, children first."""
        text = "\n".join(self._rtlil.values())
        # `proc` makes multiplexers of processes and `-purge` drops the aliases of struct fields: less than half of what
        # `amaranth.back.verilog` writes.
        script = f"read_rtlil <<rtlil\n{text}\nrtlil\nproc\nopt_clean -purge\nmemory_collect\nwrite_verilog -noattr\n"
        written = _BuiltinYosys.run(["-q", "-"], script)  # never a system's: the text would depend on where it is made
        return _ONE_HOT.sub(lambda pattern: pattern[0].replace("?", "0"), written)


def place(
    m: Module,
    platform: object,
    label: str,
    component_class: type[wiring.Component],
    *args: Hashable,
    reset: Value | None = None,
) -> wiring.Component | wiring.PureInterface:
    """Put `component_class(*args)` into `m` as `label`; returns what has its ports as attributes.

    Where `reset` is high, the component is reset, as it is with the domain.
    """
    if isinstance(platform, Design):
        return platform.instance(m, label, platform.add(component_class, *args), reset)
    component = component_class(*args)
    m.submodules[label] = component if reset is None else ResetInserter(reset)(component)
    return component


# The selectors of a multiplexer exclude each other; patterns that say so are read by every tool as a parallel case.
_ONE_HOT = re.compile(r"(?m)^ +\d+'b\?*1\?*:$")
_DIRECTIONS = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}


def _flat_ports(interface: wiring.Component | wiring.PureInterface) -> list[tuple[str, Value, wiring.Flow]]:
    return [
        ("__".join(map(str, path)), Value.cast(value), member.flow)
        for path, member, value in interface.signature.flatten(interface)
    ]
