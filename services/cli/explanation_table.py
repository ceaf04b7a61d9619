"""The printed table of how faithful a version's explanations are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def explanation_table(title: str, explanation: Mapping[str, Any]) -> Table:
    """What a person reads of a card's section `explanation`.

    Args:
        title: The version.
        explanation: What `services.trainer.faithfulness.faithfulness` returns.
    """
    curves, attribution = explanation["curves"], explanation["attribution"]
    table = Table("Grad-CAM", "mean [95 %]", "against", title=title, title_justify="left")
    for kind, wanted in (("deletion", "low"), ("insertion", "high")):
        measured, gains = curves[kind], curves["gains"][kind]
        others = (
            f"{name} {measured[name]['area']['mean']:.3f}: {gain['verdict']}"
            for name, gain in gains.items()
        )
        own = measured[explanation["method"]]["area"]
        table.add_row(f"area under {kind} ({wanted} is good)", _mean(own), ", ".join(others))
    above = attribution["images_above_chance"]
    table.add_row(
        "share on stained cells",
        _mean(attribution["on_cells"]),
        f"chance {_mean(attribution['chance'])}; {above['count']} of {above['of']} images above it",
    )
    corner = attribution["hidden_corner"]
    served = f"area {corner['chance']:.3f}; {corner['as_served']:.3f} as served"
    table.add_row("share on the hidden corner", _mean(corner["before_hiding"]), served)
    for scope, what in (("head", "of the head"), ("all", "all")):
        found = explanation["randomised"][scope]
        kept = f"{found['predictions_kept']:.0%} of the predictions stay"
        shown = "no map has ranks" if found["spearman"] is None else _mean(found["spearman"])
        table.add_row(f"correlation, weights shuffled: {what}", shown, kept)
    return table


def _mean(figure: Mapping[str, Any]) -> str:
    if figure["interval95"] is None:
        return f"{figure['mean']:.3f}"
    low, high = figure["interval95"]
    return f"{figure['mean']:.3f} [{low:.3f}, {high:.3f}]"
