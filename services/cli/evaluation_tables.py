"""Shows an evaluation, or a comparison of models, at a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from services.trainer.report import COLOUR_ALONE, SHOWN_ERRORS, model_title
from shared.triage.labels import LABELS
from shared.triage.wording.english import ENGLISH


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print every measure of one model, its errors by id, and the limits."""
    metrics, model, measured_on = report["metrics"], report["model"], report["measured_on"]
    split = measured_on.get("split")
    part = f"{split['part']} part, {split['protocol']} split" if split else "every image"
    console.print(
        f"{model_title(report)} ({model['engine']}, {model['precision']}) "
        f"on {metrics['images']} images: {part}"
    )
    console.print(f"Trained on: {measured_on['trained_on']}")
    for name, code in measured_on["left_out"].items():
        console.print(f"Left out, as it cannot be used: {name} ({code})")
    console.print(_class_table(metrics))
    console.print(_confusion_table(metrics))
    console.print(_summary_table(report))
    console.print(_policy_table(metrics))
    console.print(_review_table(report["review"]))
    if "foreign" in report:
        console.print(_foreign_table(report["foreign"]))
    if "robustness" in report:
        console.print(_robustness_table(report["robustness"]))
    console.print(_error_table(report["errors"]))
    limits = report["card"].get("limits", ENGLISH.limits)
    console.print(f"{ENGLISH.disclaimer.capitalize()}. {limits}")


def print_comparison(
    reports: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any], console: Console
) -> None:
    """Print models side by side, with McNemar's test against the most accurate one."""
    table = Table(
        *("model", "accuracy", "macro F1", "sensitivity", "specificity", "ECE", "MB", "images/s"),
        "p against the best",
        title=f"Comparison on {comparison['images']} images; the best is {comparison['best']}",
    )
    for name, report in reports.items():
        metrics, cost = report["metrics"], report["cost"]
        size, paired = cost["artefact_bytes"], comparison["models"][name]["against_best"]
        table.add_row(
            name,
            *(_proportion(metrics["accuracy"]), _number(metrics["macro_f1"])),
            *(_proportion(metrics["sensitivity"]), _proportion(metrics["specificity"])),
            _number(metrics["calibration"]["after"]["ece"]),
            *("-" if size is None else f"{size / 1e6:.2f}", _speed(cost)),
            "-" if paired is None else _number(paired["p"]),
        )
    baseline = reports[comparison["best"]]["card"].get("colour_baseline")
    if baseline:
        table.add_row(COLOUR_ALONE, _proportion(baseline["accuracy"]))
    console.print(table)


def _class_table(metrics: Mapping[str, Any]) -> Table:
    table = Table("class", "precision", "recall", "F1", "AUC", "images", title="By class")
    for label, row in metrics["per_class"].items():
        figures = (_number(row[name]) for name in ("precision", "recall", "f1", "auc"))
        table.add_row(label, *figures, f"{row['support']:.0f}")
    return table


def _confusion_table(metrics: Mapping[str, Any]) -> Table:
    table = Table("true \\ predicted", *LABELS, title="Confusion")
    for label, row in zip(LABELS, metrics["confusion_matrix"], strict=True):
        table.add_row(label, *map(str, row))
    return table


def _summary_table(report: Mapping[str, Any]) -> Table:
    metrics, cost = report["metrics"], report["cost"]
    table = Table("measure", "value", title="Summary (95 % Wilson intervals)")
    for name in ("accuracy", "sensitivity", "specificity"):
        table.add_row(name, _proportion(metrics[name]))
    table.add_row("macro F1", _number(metrics["macro_f1"]))
    table.add_row("AUC malignant against benign", _number(metrics["auc_malignant"]))
    for when in ("before", "after"):
        calibration = metrics["calibration"][when]
        figures = f"ECE {calibration['ece']:.4f}, Brier {calibration['brier']:.4f}"
        table.add_row(f"{when} calibration", figures)
    baseline = report["card"].get("colour_baseline")
    if baseline:
        row = f"{COLOUR_ALONE}, on the card's test part"
        table.add_row(row, _proportion(baseline["accuracy"]))
    table.add_row("parameters", f"{cost['parameters']:,}")
    table.add_row("images/s", f"{_speed(cost)} ({cost['engine']}, {cost['precision']})")
    return table


def _review_table(review: Mapping[str, Any]) -> Table:
    free = review["unreviewed"]
    table = Table("measure", "value", title="Review")
    table.add_row("images that need no review", f"{free['coverage']:.1%}")
    table.add_row("wrong class among these", _proportion(free["errors"]))
    table.add_row("malignant, yet routine", _proportion(review["malignant_as_routine"]))
    table.add_row("taken for foreign", _proportion(review["flagged_as_unlike"]))
    for label, held in review["set_holds_label"].items():
        if held is not None:
            table.add_row(f"set holds the label, {label}", _proportion(held))
    for reason, count in review["reasons"].items():
        table.add_row(f"images with {reason}", str(count))
    return table


def _foreign_table(foreign: Mapping[str, Any]) -> Table:
    table = Table(
        *("folder", "images", "refused", "sent to review", "by the detector", "routine"),
        title="Foreign images",
    )
    for name, found in foreign.items():
        shares = (_proportion(found[key]) for key in ("reviewed", "unlike", "routine"))
        table.add_row(name, str(found["images"]), str(found["refused"]), *shares)
    return table


def _policy_table(metrics: Mapping[str, Any]) -> Table:
    table = Table("urgency", "when", "share of images", "wrong among them", title="Policy")
    for row in metrics["policy_rows"]:
        share = f"{row['coverage']:.1%}"
        table.add_row(row["urgency"], row["when"], share, _proportion(row["errors"]))
    return table


def _robustness_table(robustness: Mapping[str, Any]) -> Table:
    table = Table("change", "level", "accuracy", "points lost", title="Robustness")
    for name, levels in robustness["perturbations"].items():
        for level, row in levels.items():
            lost = f"{row['loss_points']:.1f}"
            table.add_row(_words(name), level, _proportion(row["accuracy"]), lost)
    for name in ("clean", "grey", "stain_normalised"):
        table.add_row(_words(name), "", _proportion(robustness[name]), "")
    return table


def _error_table(errors: list[dict[str, Any]]) -> Table:
    table = Table("file", "SHA-256", "true", "predicted", "confidence", "urgency")
    table.title = f"Errors: {len(errors)}"
    if len(errors) > SHOWN_ERRORS:
        table.title += f", of which the {SHOWN_ERRORS} surest are shown"
    for error in errors[:SHOWN_ERRORS]:
        table.add_row(
            error["file"],
            error["sha256"][:16],
            error["true"],
            error["predicted"],
            f"{error['confidence']:.3f}",
            error["urgency"],
        )
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _speed(cost: Mapping[str, Any]) -> str:
    return f"{cost['speed']['images_per_second']:.1f}"


def _number(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.4f}"


def _proportion(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    low, high = figure["wilson95"]
    return f"{figure['value']:.4f} [{low:.4f}, {high:.4f}] ({figure['count']}/{figure['of']})"
