"""The plots of `quaver sweep`: all machines by two columns, and the front among them."""

from collections.abc import Sequence
from pathlib import Path

from quaver.cli.sweep_report import SHOWN, groups_of
from quaver.sim.pareto import front
from quaver.sim.sweep_file import Row

SUFFIXES = (".png", ".svg", ".html")
_SPAN = 8
"""Largest over smallest value from which on an axis is logarithmic."""


def write_plot(path: Path, rows: Sequence[Row], axes: Sequence[str], columns: Sequence[str]) -> None:
    """Plot the first two of `columns`, by Matplotlib or, as a page that tells the machine under the pointer, by Plotly.

    Raises
    ------
    OSError
        If the file cannot be written.
    ModuleNotFoundError
        If the package is not installed.
    """
    if path.suffix == ".html":
        _write_page(path, rows, axes, columns)
    else:
        _write_picture(path, rows, columns)


def _write_picture(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    plot = figure.subplots()
    for index, group in enumerate(groups_of(rows)):
        color = f"C{index % 10}"
        x, y = _values(_measured(group.rows), columns)
        plot.scatter(x, y, s=8, color=color, alpha=0.25, linewidths=0)
        best_x, best_y = _values([row for row, _ in front(group.rows, columns)], columns)
        line = {"linewidth": 1, "drawstyle": "steps-post"} if len(columns) == 2 else {"linestyle": "none"}
        plot.plot(best_x, best_y, marker="o", markersize=4, color=color, label=group.title, **line)
    for axis, column in zip("xy", columns, strict=False):
        plot.set(**{f"{axis}label": SHOWN[column].label, f"{axis}scale": _scale(rows, column)})
    plot.grid(alpha=0.3)
    plot.legend(fontsize="small")
    figure.savefig(path, dpi=160)


def _write_page(path: Path, rows: Sequence[Row], axes: Sequence[str], columns: Sequence[str]) -> None:
    from plotly import graph_objects
    from plotly.colors import qualitative

    figure = graph_objects.Figure()
    for index, group in enumerate(groups_of(rows)):
        color = qualitative.D3[index % len(qualitative.D3)]
        best = [row for row, _ in front(group.rows, columns)]
        front_mode = "lines+markers" if len(columns) == 2 else "markers"
        for some, mode, opacity in ((_measured(group.rows), "markers", 0.3), (best, front_mode, 1)):
            x, y = _values(some, columns)
            figure.add_scatter(
                x=x,
                y=y,
                mode=mode,
                opacity=opacity,
                name=group.title,
                legendgroup=group.title,
                showlegend=some is best,
                text=["<br>".join(f"{axis} = {row[axis]}" for axis in axes) for row in some],
                line={"shape": "hv"},  # what lies beyond a corner is beaten
                marker={"color": color, "size": 6},
            )
    for axis, column in zip("xy", columns, strict=False):
        figure.update_layout({f"{axis}axis": {"title": SHOWN[column].label, "type": _scale(rows, column)}})
    figure.update_layout(template="simple_white", hovermode="closest", legend={"orientation": "h", "y": -0.2})
    path.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")


def _measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["error"] is None]


def _values(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[float], list[float]]:
    """Both columns, in the units that are shown."""
    x, y = ([float(row[column] or 0) / SHOWN[column].scale for row in rows] for column in columns[:2])
    return x, y


def _scale(rows: Sequence[Row], column: str) -> str:
    values = [float(row[column] or 0) for row in _measured(rows)]
    return "log" if values and min(values) > 0 and max(values) > _SPAN * min(values) else "linear"
