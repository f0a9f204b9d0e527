"""Charts of the report, as SVG that takes its colours from the page.

Each chart is drawn with placeholder colours that are then replaced by CSS variables, so that one picture is legible on
a light and on a dark page. Equal figures give equal bytes. Matplotlib is imported inside functions, because it takes a
second.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sluice.release.gates import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, NEW, OLD, BAD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_CSS = {INK: "--ink", MUTED: "--muted", GRID: "--line", NEW: "--new", OLD: "--old", BAD: "--bad"}
_WIDTH = 7.2  # inches; the page scales it
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlecolor": MUTED,
}


@dataclass(frozen=True)
class MetricBar:
    """One metric: the candidate's value and the champion's, where there is one."""

    name: str
    unit: str
    value: float
    reference: float | None


def metrics(bars: Sequence[MetricBar]) -> str:
    """Candidate as bars, the champion as a mark on each; one panel for each unit, so that no scale hides another."""
    units = list(dict.fromkeys(bar.unit for bar in bars))
    groups = [[bar for bar in bars if bar.unit == unit] for unit in units]

    def draw(figure: Figure) -> None:
        ratios = [len(group) for group in groups]
        axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for axis, group, unit in zip(axes, groups, units, strict=True):
            places = range(len(group))
            axis.barh(places, [bar.value for bar in group], height=0.5, color=NEW, label="this release")
            marked = [
                (bar.reference, place) for bar, place in zip(group, places, strict=True) if bar.reference is not None
            ]
            if marked:
                x, y = zip(*marked, strict=True)
                axis.plot(
                    x, y, linestyle="", marker="|", markersize=17, markeredgewidth=2.5, color=OLD, label="champion"
                )
            largest = max([bar.value for bar in group] + [x for x, _ in marked] + [1e-9])
            for bar, place in zip(group, places, strict=True):
                # Beside the bar, or behind the champion's mark where that stands in the way.
                close = bar.reference is not None and 0 <= bar.reference - bar.value < largest * 0.12
                beyond = max(bar.value, bar.reference or 0) if close else bar.value
                axis.text(beyond + largest * 0.02, place, number(bar.value), va="center", color=MUTED)
            axis.set_yticks(list(places), [bar.name for bar in group])
            axis.set_xlim(0, largest * 1.12)
            axis.set_ylim(len(group) - 0.5, -0.5)
            axis.set_title(unit)
            _bare(axis, "x")
        _legend(figure, axes[0])

    return _svg("metrics", sum(0.34 * len(group) + 0.75 for group in groups) + 0.2, draw)


def loss(points: Sequence[Sequence[float]]) -> str:
    """Training loss by step, and its running mean over a tenth of the run."""
    steps, values = [point[0] for point in points], [point[1] for point in points]
    window = max(1, len(values) // 10)
    means = [sum(values[max(0, n - window + 1) : n + 1]) / min(window, n + 1) for n in range(len(values))]

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        axis.plot(steps, values, color=OLD, linewidth=1, label="loss")
        axis.plot(steps, means, color=NEW, linewidth=2, label=f"mean of {window} steps")
        axis.set_ylim(bottom=0)
        axis.set_xlabel("step")
        _bare(axis, "y")
        _legend(figure, axis)

    return _svg("loss", 2.6, draw)


def latency(steps: Sequence[tuple[str, Mapping[str, float], Mapping[str, float]]]) -> str:
    """Total time, median and p95 in milliseconds, for each (label, canary, stable)."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, name, title in zip(axes, ("total_p50_ms", "total_p95_ms"), ("median, ms", "p95, ms"), strict=True):
            places = range(len(steps))
            for shift, colour, label, column in ((-0.2, NEW, "canary", 1), (0.2, OLD, "stable", 2)):
                values = [step[column].get(name, math.nan) for step in steps]  # type: ignore[union-attr]
                drawn = axis.bar([place + shift for place in places], values, width=0.36, color=colour, label=label)
                shown = ["" if math.isnan(value) else f"{value:.0f}" for value in values]
                axis.bar_label(drawn, shown, color=MUTED, fontsize=8, padding=2)
            axis.set_xticks(list(places), [step[0] for step in steps])
            axis.margins(y=0.15)
            axis.set_title(title)
            _bare(axis, "y")
        _legend(figure, axes[0])

    return _svg("latency", 2.8, draw)


def weights(points: Sequence[Sequence[float]], marks: Sequence[tuple[float, float, str, bool]]) -> str:
    """The canary's share over time, with a band for each analysis: (start, seconds, label, passed)."""
    times, shares = [point[0] for point in points], [point[1] for point in points]
    end = max([*times, *(start + seconds for start, seconds, _, _ in marks)])

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        axis.step([*times, end], [*shares, shares[-1]], where="post", color=NEW, linewidth=2)
        axis.fill_between([*times, end], [*shares, shares[-1]], step="post", color=NEW, alpha=0.12, linewidth=0)
        for start, seconds, label, passed in marks:
            axis.axvspan(start, start + seconds, color=MUTED if passed else BAD, alpha=0.14, linewidth=0)
            axis.text(start + seconds / 2, 106, label, ha="center", color=MUTED if passed else BAD, fontsize=8)
        axis.set_ylim(0, 116)
        axis.set_xlim(0, end or 1)
        axis.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axis.set_xlabel("seconds since the rehearsal began")
        _bare(axis, "y")

    return _svg("weights", 2.6, draw)


def distribution(name: str, bins: Sequence[tuple[str, float, float]]) -> str:
    """Shares of two sides over the same bins, for each (label, evaluation set, traffic). `name`: of the picture."""

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        places = range(len(bins))
        for shift, colour, label, column in ((-0.2, OLD, "evaluation set", 1), (0.2, NEW, "traffic", 2)):
            shares = [100 * float(one[column]) for one in bins]
            axis.bar([place + shift for place in places], shares, width=0.36, color=colour, label=label)
        turned = 35 if len(bins) > 6 else 0
        axis.set_xticks(list(places), [one[0] for one in bins], rotation=turned, ha="right" if turned else "center")
        axis.set_title("share, %")
        _bare(axis, "y")
        _legend(figure, axis)

    return _svg(name, 2.8, draw)


def _bare(axis: Axes, grid: Literal["x", "y"]) -> None:
    axis.grid(axis=grid, linewidth=0.6)
    axis.tick_params(length=0)
    axis.spines["left" if grid == "y" else "bottom"].set_visible(False)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))


def _svg(name: str, height: float, draw: Any) -> str:
    """Draws on a transparent figure and gives the <svg> element with the page's colours."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # The salt makes ids repeatable and, one for each picture, keeps them apart on one page.
    with rc_context({**_STYLE, "svg.hashsalt": f"sluice-{name}"}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _CSS.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # A bare `*` rule of an inline picture would reach the whole page.
    text = text.replace("*{stroke-linejoin", "svg *{stroke-linejoin")
    # Numbered ids are never referred to, and would occur once in each picture of a page.
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
