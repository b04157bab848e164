"""Constraints of a space: comparisons of a machine's keys, as a line of Python would state them, and no more of Python.

There are numbers, strings, lists of them, keys of the machine by their dotted names, `+ - * / // %`, comparisons and
`in`, `and`, `or`, `not` and parentheses: `rows * columns <= 16384 and memory.dram in ["ddr", "hbm2"]`.
"""

import ast
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass

from quaver.golden.errors import check_choice

_OPERATIONS: dict[type[ast.AST], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
    ast.In: lambda value, container: value in container,
    ast.NotIn: lambda value, container: value not in container,
}


@dataclass(frozen=True)
class Constraint:
    """What a machine must fulfil to belong to a space."""

    text: str
    """The line."""
    tree: ast.expr
    """The same, parsed and checked."""

    @classmethod
    def parse(cls, text: str, keys: Collection[str]) -> "Constraint":
        """Read a line that may name any of `keys`.

        Raises
        ------
        ValueError
            If it is no such line, or names something else.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"{text!r} is no comparison of keys: {error.msg}") from None
        _check(tree, text, keys)
        return cls(text, tree)

    def holds(self, value_of: Callable[[str], object]) -> bool:
        """Whether it is true where keys have the values that `value_of` tells.

        Raises
        ------
        ValueError
            If values cannot be computed with or compared, such as a text with a number.
        """
        try:
            return bool(_value(self.tree, value_of))
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise ValueError(f"{self.text!r} cannot be computed: {error}") from None


def _check(node: ast.expr, text: str, keys: Collection[str]) -> None:
    match node:
        case ast.Name() | ast.Attribute():
            check_choice(f"key in {text!r}", ast.unparse(node), keys)
        case ast.Constant(value=bool() | int() | float() | str()):
            pass
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                _check(part, text, keys)
        case ast.UnaryOp(op=op, operand=part) if type(op) in _OPERATIONS:
            _check(part, text, keys)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            _check(left, text, keys)
            _check(right, text, keys)
        case ast.Compare(left=left, ops=ops, comparators=parts) if all(type(op) in _OPERATIONS for op in ops):
            for part in (left, *parts):
                _check(part, text, keys)
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} in {text!r} is neither a key, a value, arithmetic nor a comparison"
            )


def _value(node: ast.expr, value_of: Callable[[str], object]) -> object:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BoolOp(op=op, values=parts):
            return (all if isinstance(op, ast.And) else any)(_value(part, value_of) for part in parts)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, value_of) for part in parts]
        case ast.UnaryOp(op=op, operand=part):
            return _OPERATIONS[type(op)](_value(part, value_of))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATIONS[type(op)](_value(left, value_of), _value(right, value_of))
        case ast.Compare(left=left, ops=ops, comparators=parts):
            values = [_value(part, value_of) for part in (left, *parts)]
            return all(_OPERATIONS[type(op)](*pair) for op, *pair in zip(ops, values, values[1:], strict=False))
    return value_of(ast.unparse(node))  # a key, as `_check` has made sure
