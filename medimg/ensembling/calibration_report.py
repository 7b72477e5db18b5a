"""What ``medimg calibrate`` shows: reliability and thresholds as text, reliability as curves."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.calibration_judge import Judged, Reliability, reliability
from medimg.ensembling.calibrators import Calibrator, Isotonic, Platt
from medimg.ensembling.unseen import UnseenTable
from medimg.figures.curves import reliability_panel
from medimg.scoring.calibration import reliability_points
from medimg.scoring.ranking import FloatArray
from medimg.scoring.thresholds import ThresholdRule

MEASURES = ("ECE", "Brier", "log loss")


def report(found: UnseenTable, judged: Judged, rule: ThresholdRule | None) -> tuple[str, list[str]]:
    """All that is printed of a calibration.

    Args:
        found: The cases.
        judged: The calibration.
        rule: What its thresholds were chosen for, if it has some.

    Returns:
        Tables as text, and warnings of labels without a map and of a calibration that does not help.
    """
    stages = _stages(found, judged)
    text = [
        reliability_text(stages, judged.maps),
        "\nafter: on the cases it was fitted on; unseen: on patients left out of the fit, five times over",
    ]
    if rule is not None:
        text.append("\n" + threshold_text(judged, found.table.labels, found.truth, rule))
    warnings = [f"{name} stays as it is: {reason}" for name, reason in judged.reasons.items()]
    last = list(stages["before"])[-1]  # the mean, or the only label
    before, unseen = (stages[stage][last][2] for stage in ("before", "unseen"))
    if unseen >= before:
        warnings.append(
            f"on unseen patients the log loss rises from {before:.4f} to {unseen:.4f}: this calibration does not help"
        )
    return "\n".join(text), warnings


def picture(found: UnseenTable, judged: Judged) -> NDArray[np.uint8]:
    """Reliability curves before, and after for unseen patients, shape (3, rows, columns)."""
    stages = _stages(found, judged)
    probs = {"before": found.table.prob, "after, unseen patients": judged.outside}
    curves = {
        stage: {
            name: reliability_points(truth, column)
            for name, truth, column in zip(found.table.labels, found.truth.T, prob.T, strict=True)
        }
        for stage, prob in probs.items()
    }
    ece = {name: [stages[stage][name][0] for stage in ("before", "unseen")] for name in found.table.labels}
    return np.moveaxis(reliability_panel(curves, ece), -1, 0)


def _stages(found: UnseenTable, judged: Judged) -> dict[str, Reliability]:
    probs = {"before": found.table.prob, "after": judged.inside, "unseen": judged.outside}
    return {name: reliability(found.task, found.table.labels, found.truth, p) for name, p in probs.items()}


def reliability_text(stages: Mapping[str, Reliability], maps: Mapping[str, Calibrator]) -> str:
    """Lay reliability out as text: a row a label, the stages of each measure side by side.

    Args:
        stages: Figures by stage, such as before, after and unseen; the same labels in each.
        maps: The map of each label that has one.

    Returns:
        Lines without a final newline.
    """
    names = list(next(iter(stages.values())))
    head = ["label", *(f"{m if s == 0 else ''}" for m in MEASURES for s in range(len(stages))), ""]
    lines = [head, ["", *list(stages) * len(MEASURES), "map"]]
    for name in names:
        numbers = [_shown(stage[name][at]) for at in range(len(MEASURES)) for stage in stages.values()]
        lines.append([name, *numbers, _map_text(maps.get(name)) if name in maps else ""])
    return aligned(lines)


def _map_text(found: Calibrator | None) -> str:
    match found:
        case Platt(a, b):
            return f"a {a:.3g}, b {b:.3g}"
        case Isotonic(prob, _):
            return f"{len(prob)} points"
        case None:
            return ""
        case _:
            return f"temperature {found.temperature:.3g}"


def threshold_text(judged: Judged, labels: Sequence[str], truth: FloatArray, rule: ThresholdRule) -> str:
    """Lay thresholds and what they reach out as text, a row a label.

    Args:
        judged: The calibration.
        labels: Names of the K labels.
        truth: 1, 0, or NaN where unknown, shape (N, K).
        rule: What the thresholds were chosen for.

    Returns:
        Lines without a final newline.
    """
    sensitivity = ThresholdRule("sensitivity")
    lines = [["label", "threshold", str(rule), "unseen", "sensitivity unseen", "specificity unseen"]]
    for column, name in enumerate(labels):
        if name not in judged.thresholds:
            continue
        target, inside = truth[:, column], judged.called_inside[:, column]
        # Without a threshold in some fold its cases stay uncalled.
        outside = np.nan_to_num(judged.called_outside[:, column])
        numbers = (
            judged.thresholds[name],
            rule.score(target, inside),
            rule.score(target, outside),
            sensitivity.score(target, outside),
            sensitivity.score(1 - target, 1 - outside),
        )
        lines.append([name, *map(_shown, numbers)])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of words side by side: the first to the left, the others to the right.

    Example:
        >>> print(aligned([["a", "1"], ["long", "10"]]))
        a        1
        long    10
    """
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "   ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
