"""Plots of a report, as SVG text that stands inside an HTML page.

Colours are those of Okabe and Ito, which colour-blind people tell apart; a line's dashes or its
marker say the same once more.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from services.trainer.curves import CELLS, SHIFTED
from shared.explanations.method import Method
from shared.triage.labels import LABELS

BLUE, ORANGE, GREEN, PURPLE, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"
INK, SOFT, GRID = "#1f2933", "#6b7785", "#dde3ea"
CLASS_STYLES = dict(
    zip(
        map(str, LABELS),
        ((GREEN, "-"), (ORANGE, "--"), (BLUE, "-."), (PURPLE, ":")),
        strict=True,
    )
)
ORDER_STYLES = {
    str(Method.GRADCAM): (BLUE, "-"),
    CELLS: (ORANGE, "--"),
    SHIFTED: (SOFT, ":"),
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}
CURVES = ("accuracy", "loss", "learning_rate")
_DASHED = (0, (4, 3))


def confusion_plot(matrix: Sequence[Sequence[int]]) -> str:
    """The confusion matrix, shaded by the share of the true class.

    Args:
        matrix: Counts; rows are true classes, columns predicted ones, shape (4, 4).
    """
    with _style("confusion"):
        counts = np.asarray(matrix)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        figure, (axes,) = _figure(4.6, 3.9)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set_xticks(range(len(LABELS)), LABELS)
        axes.set_yticks(range(len(LABELS)), LABELS)
        axes.set(xlabel="predicted", ylabel="true")
        axes.tick_params(length=0)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if share[row, column] > 0.5 else (INK if count else SOFT)
            text = f"{count}\n{share[row, column]:.1%}" if count else "0"
            axes.text(column, row, text, ha="center", va="center", color=colour)
        for side in axes.spines.values():
            side.set_visible(False)
        return _svg(figure, "Confusion matrix")


def roc_plot(roc: Mapping[str, Any], areas: Mapping[str, float | None]) -> str:
    """ROC curves, whole and the corner that matters.

    Args:
        roc: Points (false positive rate, true positive rate) by name; None leaves a curve out.
        areas: Area under each curve, by the same names.
    """
    with _style("roc"):
        figure, panels = _figure(8.6, 3.9, 2)
        for axes in panels:
            axes.plot([0, 1], [0, 1], color=SOFT, linestyle=_DASHED, linewidth=0.8)
            for name, points in roc.items():
                if points is not None:
                    colour, dashes = CLASS_STYLES.get(name, (INK, "-"))
                    against = "benign" if name == "malignant" else "rest"
                    label = f"{name} against {against}: {areas[name]:.4f}"
                    false, true = np.asarray(points).T
                    axes.plot(false, true, color=colour, linestyle=dashes, label=label)
            axes.set(xlabel="false positive rate", ylabel="true positive rate")
        panels[0].set(xlim=(-0.01, 1), ylim=(0, 1.01), title="ROC")
        panels[1].set(xlim=(-0.002, 0.2), ylim=(0.8, 1.002), title="Its upper left corner")
        if panels[0].get_legend_handles_labels()[0]:
            panels[0].legend(title="area under the curve", loc="lower right", fontsize=8)
        return _svg(figure, "ROC curves")


def reliability_plot(calibration: Mapping[str, Any]) -> str:
    """Reliability diagrams, before and after calibration, with each bin's share of the images."""
    with _style("reliability"):
        figure, panels = _figure(8.6, 3.9, 2)
        for axes, when in zip(panels, ("before", "after"), strict=True):
            measured = calibration[when]
            share, confidence, accuracy = (
                [bin_[name] for bin_ in measured["reliability"]]
                for name in ("share", "confidence", "accuracy")
            )
            axes.plot([0, 1], [0, 1], color=SOFT, linestyle=_DASHED, linewidth=0.8, label="perfect")
            axes.bar(
                confidence, share, width=0.03, color=ORANGE, alpha=0.45, label="share of images"
            )
            axes.plot(confidence, accuracy, color=BLUE, marker="o", label="accuracy")
            axes.set(
                xlim=(0.2, 1.02), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy, share"
            )
            axes.set_title(f"{when} calibration: ECE {measured['ece']:.4f}")
        panels[0].legend(loc="upper left", fontsize=8)
        return _svg(figure, "Reliability diagrams")


def training_plot(history: Mapping[str, Sequence[float]]) -> str:
    """Accuracy, loss and learning rate by epoch: those of `CURVES` that the history has."""
    with _style("training"):
        shown = [name for name in CURVES if name in history]
        figure, panels = _figure(8.6, 2.9, len(shown))
        for axes, name in zip(panels, shown, strict=True):
            epochs = range(1, len(history[name]) + 1)
            axes.plot(epochs, history[name], color=BLUE, marker=".", label="training")
            if f"val_{name}" in history:
                values = history[f"val_{name}"]
                axes.plot(
                    range(1, len(values) + 1),
                    values,
                    color=VERMILION,
                    linestyle="--",
                    marker="x",
                    markersize=4,
                    label="validation",
                )
                axes.legend(fontsize=8)
            if name == "learning_rate":
                axes.set_yscale("log")
            axes.set(title=name.replace("_", " "), xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, "Training curves")


def accuracy_plot(accuracies: Mapping[str, Mapping[str, Any]], colour_alone: str) -> str:
    """Accuracies with their Wilson 95 % intervals, one below the other.

    Args:
        accuracies: Proportions by name.
        colour_alone: The name that is no model but the colour-only baseline.
    """
    with _style("accuracies"):
        figure, (axes,) = _figure(8.6, 0.9 + 0.36 * len(accuracies))
        for position, (name, accuracy) in enumerate(accuracies.items()):
            low, high = accuracy["wilson95"]
            colour, marker = (VERMILION, "D") if name == colour_alone else (BLUE, "o")
            axes.plot([low, high], [position, position], color=colour)
            axes.plot(accuracy["value"], position, marker=marker, color=colour)
        axes.set_yticks(range(len(accuracies)), accuracies)
        axes.set_ylim(len(accuracies) - 0.5, -0.5)
        axes.set_xlabel("accuracy, Wilson 95 % interval")
        return _svg(figure, "Accuracies with their intervals")


def curves_plot(curves: Mapping[str, Any]) -> str:
    """Deletion and insertion curves, by the order of the pixels.

    Args:
        curves: What `services.trainer.curves.summarise_curves` says.
    """
    with _style("curves"):
        figure, panels = _figure(8.6, 3.3, 2)
        for axes, kind in zip(panels, ("deletion", "insertion"), strict=True):
            for name, measured in curves[kind].items():
                colour, dashes = ORDER_STYLES[name]
                values = measured["curve"]
                axes.plot(
                    np.linspace(0, 1, len(values)),
                    values,
                    color=colour,
                    linestyle=dashes,
                    label=f"{name}: {measured['area']['mean']:.3f}",
                )
            axes.set(title=kind, xlim=(0, 1), ylim=(0, 1.02), xlabel="share of the visible pixels")
            axes.legend(title="area under the curve", fontsize=8)
        panels[0].set_ylabel("probability of the class")
        return _svg(figure, "Deletion and insertion curves")


def part_of_page(name: str) -> Any:
    """A context: the plots made in it have other ids than those of the page's other parts."""
    return mpl.rc_context({"svg.hashsalt": name})


def _style(name: str) -> Any:
    # The salt keeps the ids inside a plot apart from those of the part's others, and repeatable.
    return mpl.rc_context({**_STYLE, "svg.hashsalt": f"{mpl.rcParams['svg.hashsalt']} {name}"})


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure, with width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Nothing refers to the ids of groups, and they would occur in every plot of a page.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
