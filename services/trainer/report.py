"""Reports as HTML pages that hold everything themselves: style, plots and figures, but no image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from services.trainer.plots import (
    CURVES,
    accuracy_plot,
    confusion_plot,
    curves_plot,
    part_of_page,
    reliability_plot,
    roc_plot,
    training_plot,
)
from services.trainer.splits import Protocol
from shared.triage.labels import LABELS
from shared.triage.wording.english import ENGLISH

SHOWN_ERRORS = 50
COLOUR_ALONE = "colour alone"


def html_report(report: Mapping[str, Any]) -> str:
    """The page of one evaluation.

    Args:
        report: What `evaluate` gives, with the model's card under `card` where there is one; or a
            version's card itself.

    Returns:
        A whole HTML document that refers to nothing outside itself.
    """
    shown = report if "model" in report else _from_card(report)
    metrics, card = shown["metrics"], shown.get("card", {})
    robustness, explanation = shown.get("robustness"), card.get("explanation")
    return _render(
        "report.html",
        title=model_title(shown),
        metrics=metrics,
        measured_on=shown["measured_on"],
        models=[shown["model"], *shown["members"]],
        card=card,
        cost=shown["cost"],
        code=shown["code"],
        policy=_policy_rows(metrics),
        review=shown.get("review"),
        foreign=shown.get("foreign"),
        errors=shown.get("errors"),
        shown=SHOWN_ERRORS,
        robustness=robustness,
        explanation=explanation,
        levels=list(next(iter(robustness["perturbations"].values()))) if robustness else [],
        plots=_plots(metrics, card.get("training", {}).get("history", {}), explanation),
    )


def html_comparison(reports: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]) -> str:
    """The page of several models on the same images.

    Args:
        reports: What `evaluate` gives for each model, by the names of the comparison.
        comparison: What `compare` gives.

    Returns:
        A whole HTML document that refers to nothing outside itself.
    """
    best = reports[comparison["best"]]
    baseline = best.get("card", {}).get("colour_baseline")
    accuracies = {name: report["metrics"]["accuracy"] for name, report in reports.items()}
    if baseline:
        accuracies[COLOUR_ALONE] = baseline["accuracy"]
    return _render(
        "comparison.html",
        reports=reports,
        comparison=comparison,
        labels=[str(label) for label in LABELS],
        colour_baseline=baseline,
        colour_alone=COLOUR_ALONE,
        baseline_of=comparison["best"],
        measured_on={
            key: value for key, value in best["measured_on"].items() if key != "trained_on"
        },
        code=best["code"],
        robustness=best.get("robustness"),
        plot=_inline(accuracy_plot(accuracies, COLOUR_ALONE)),
        plots={name: _plots_of(name, report["metrics"]) for name, report in reports.items()},
        policies={name: _policy_rows(report["metrics"]) for name, report in reports.items()},
    )


def html_study(report: Mapping[str, Any]) -> str:
    """The page of a study.

    Args:
        report: What `run_study` gives.

    Returns:
        A whole HTML document that refers to nothing outside itself.
    """
    models = report["models"]
    accuracies = {
        name: {**model["accuracy"], "value": model["accuracy"]["mean"]}
        for name, model in models.items()
    }
    accuracies[COLOUR_ALONE] = report["colour_baseline"]["accuracy"]
    return _render(
        "study.html",
        **report,
        labels=[str(label) for label in LABELS],
        colour_alone=COLOUR_ALONE,
        masked=Protocol(report["split"]["protocol"]).masked,
        plot=_inline(accuracy_plot(accuracies, COLOUR_ALONE)),
        plots={
            name: [_plots_of_run(run) for run in model["runs"]] for name, model in models.items()
        },
        shown=SHOWN_ERRORS,
    )


def model_title(report: Mapping[str, Any]) -> str:
    """`NAME@VERSION` of the model that a report is about."""
    return f"{report['model']['name']}@{report['model']['version']}"


def _from_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card in the form of an evaluation's report: its measures are of its own test part."""
    model = {"name": card["name"], "version": card["version"]}
    members = [member["model"].split("@") for member in card.get("members", ())]
    return {
        "model": model,
        "members": [{"name": name, "version": version} for name, version in members],
        "measured_on": {
            "dataset_version": card["data"]["version"],
            "counts": card["data"]["counts"],
            "split": {**card["split"], "part": "test"},
        },
        "metrics": card["metrics"],
        "review": card.get("review"),
        "errors": card.get("errors"),
        "robustness": card.get("robustness"),
        "cost": {
            **card.get("cost", {}),
            "parameters": card["parameters"],
            "artefact_bytes": _artefact_bytes(card),
        },
        "code": card.get("code") or {"package": card.get("software", {}).get("hemotriage")},
        "card": card,
    }


def _artefact_bytes(card: Mapping[str, Any]) -> int | None:
    """Of the network, or of an ensemble's in all."""
    own = card["artefacts"].get("onnx", {}).get("bytes")
    found: int | None = card.get("cost", {}).get("artefact_bytes") if own is None else own
    return found


def _plots(
    metrics: Mapping[str, Any], history: Mapping[str, Any], explanation: Mapping[str, Any] | None
) -> dict[str, Markup | None]:
    areas = {label: row.get("auc") for label, row in metrics["per_class"].items()}
    areas["malignant"] = metrics["auc_malignant"]
    roc = metrics.get("roc", {})
    plots = {
        "confusion": confusion_plot(metrics["confusion_matrix"]),
        "roc": roc_plot(roc, areas) if any(roc.values()) else None,
        "reliability": reliability_plot(metrics["calibration"]),
        "training": training_plot(history) if set(CURVES) & set(history) else None,
        "curves": curves_plot(explanation["curves"]) if explanation else None,
    }
    return {name: None if svg is None else _inline(svg) for name, svg in plots.items()}


def _plots_of_run(run: Mapping[str, Any]) -> dict[str, Markup | None]:
    name = f"{run['plan']['architecture']} {run['plan']['seed']}"
    return _plots_of(name, run["metrics"], run["history"])


def _plots_of(
    name: str, metrics: Mapping[str, Any], history: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Markup | None]:
    """The plots of one model among several on a page."""
    with part_of_page(name):
        return _plots(metrics, history, None)


def _policy_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A card made before the rows were measured has each urgency's figures alone."""
    urgencies = metrics["policy"].items()
    return metrics.get("policy_rows") or [{"urgency": name, **row} for name, row in urgencies]


def _inline(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - matplotlib escapes the text of a plot


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        # What an older card or a smaller report lacks is left out of the page.
        undefined=ChainableUndefined,
    )
    page = environment.get_template(template)
    return page.render(disclaimer=ENGLISH.disclaimer, limits=ENGLISH.limits, **values)
