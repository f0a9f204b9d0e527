"""Charts of the report, as SVG that takes its colours from the page.

Each chart is drawn with placeholder colours that are then replaced by CSS variables, so that one picture is legible on
a light and on a dark page. Equal figures give equal bytes. Matplotlib is imported inside functions, because it takes a
second.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.release import templates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = Path(templates.__file__).with_name("report.mplstyle")
MUTED, NEW, OLD, BAD = "#020202", "#040404", "#050505", "#060606"
_CSS = {"#010101": "--ink", MUTED: "--muted", "#030303": "--line", NEW: "--new", OLD: "--old", BAD: "--bad"}
_WIDTH = 7.2  # inches; the page scales it


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
        _finish(axis)

    return _svg("loss", 2.6, draw)


def latency(steps: Sequence[tuple[str, Mapping[str, float], Mapping[str, float]]]) -> str:
    """Total time, median and p95 in milliseconds, for each (label, canary, stable)."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, name, title in zip(axes, ("total_p50_ms", "total_p95_ms"), ("median, ms", "p95, ms"), strict=True):
            canary, stable = ([step[side].get(name, math.nan) for step in steps] for side in (1, 2))  # type: ignore[union-attr]
            for drawn in _pairs(axis, ("canary", NEW, canary), ("stable", OLD, stable)):
                axis.bar_label(drawn, fmt="{:.0f}", color=MUTED, fontsize=8, padding=2)
            axis.set_xticks(range(len(steps)), [step[0] for step in steps])
            axis.margins(y=0.15)
            axis.set_title(title)
            _finish(axis, legend=axis is axes[0])

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
        _finish(axis, legend=False)

    return _svg("weights", 2.6, draw)


def distribution(name: str, bins: Sequence[tuple[str, float, float]]) -> str:
    """Shares of the evaluation set and of traffic over the same bins.

    Args:
        name: Of the picture; another for each on one page.
        bins: (label, share of the evaluation set, share of traffic), shares from 0 to 1.
    """

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        ours, theirs = ([100 * float(one[side]) for one in bins] for side in (1, 2))
        _pairs(axis, ("evaluation set", OLD, ours), ("traffic", NEW, theirs))
        turned = 35 if len(bins) > 6 else 0
        labels = [one[0] for one in bins]
        axis.set_xticks(range(len(bins)), labels, rotation=turned, ha="right" if turned else "center")
        axis.set_title("share, %")
        _finish(axis)

    return _svg(name, 2.8, draw)


def _pairs(axis: Axes, *sides: tuple[str, str, Sequence[float]]) -> list[Any]:
    """Two bars side by side at each place, for each (label, colour, values)."""
    return [
        axis.bar([n + shift for n in range(len(values))], values, width=0.36, color=colour, label=label)
        for shift, (label, colour, values) in zip((-0.2, 0.2), sides, strict=True)
    ]


def _finish(axis: Axes, *, legend: bool = True) -> None:
    axis.grid(axis="y")
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)
    if legend:
        handles, labels = axis.get_legend_handles_labels()
        axis.figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))


def _svg(name: str, height: float, draw: Callable[[Figure], None]) -> str:
    """Draws on a transparent figure and gives the <svg> element with the page's colours."""
    from matplotlib import style
    from matplotlib.figure import Figure

    # The salt makes ids repeatable and, one for each picture, keeps them apart on one page.
    with style.context([_STYLE, {"svg.hashsalt": f"sluice-{name}"}]):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
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
