"""The Pareto front: what nothing else beats in everything."""

from collections.abc import Sequence

from quaver.sim.sweep_file import Row


def front(rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[Row, int]]:
    """Rows that no other one equals or beats in all of `columns`, less being better, and beats in one.

    Rows without a result are left out.  Of rows that are equal in all of `columns` the first stands for all; the number
    beside it says for how many.  They come in ascending order of the first column.
    """
    alike: dict[tuple, list[Row]] = {}
    for row in rows:
        if row["error"] is None:
            alike.setdefault(tuple(row[column] for column in columns), []).append(row)
    best: list[tuple] = []
    for values in sorted(alike):
        # What beats these values is smaller in this order, and what beats that one in turn is on the front.
        if not any(all(a <= b for a, b in zip(other, values, strict=True)) for other in best):
            best.append(values)
    return [(alike[values][0], len(alike[values])) for values in best]
