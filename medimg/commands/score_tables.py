"""The tables' side of ``medimg score``: a competition's own rule, or every score of every label."""

# Only the standard library is imported here, and the rest where it is used, so that the help answers at once.
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.errors import ConfigError

if TYPE_CHECKING:
    from medimg.records import Task
    from medimg.scoring.official import OfficialScore

_STUDIES = ("rsna-pe", "spine2022")
_MASKS = ("hubmap", "uw-madison")


def check_table_options(
    metric: str | None,
    *,
    regions: str | None,
    labels: str | None,
    lesionwise: bool,
    images: Path | None,
    task: str | None,
) -> None:
    """Refuse options that would have no effect on a table.

    Raises:
        ConfigError: If one of them is given.
    """
    shown = f"--metric {metric}" if metric else "a table without --metric"
    given = {"--regions": regions, "--labels": labels, "--lesionwise": lesionwise or None}
    idle = [option for option, value in given.items() if value is not None]
    idle += ["--images"] if images is not None and metric != "uw-madison" else []
    idle += ["--task"] if task is not None and metric not in (None, "auroc", "medmnist") else []
    if idle:
        raise ConfigError(f"{', '.join(idle)}: means nothing for {shown}. Leave it away.")


def score_official(
    pred: Path,
    ref: Path | None,
    metric: str,
    *,
    task: "Task | None",
    images: Path | None,
    out: Path | None,
    workers: int,
    scheduler: str | None,
) -> None:
    """Score by a competition's rule, print the score, write the files that were asked for."""
    from medimg.scoring.official import format_official, write_official
    from medimg.scoring.table import write_per_case

    found = _official(pred, ref, metric, task=task, images=images, workers=workers, scheduler=scheduler)
    names = str(pred) if ref is None else f"{pred} against {ref}"
    print(format_official(found, names))
    if out is not None:
        write_per_case(out / "per_case.csv", found.rows)
        settings = {
            "metric": metric,
            "predictions": str(pred),
            "reference": None if ref is None else str(ref),
        }
        write_official(out / "summary.json", found, settings)
        print(f"wrote {out / 'per_case.csv'} and {out / 'summary.json'}")
    print(_next_step(found, metric, pred, out))


def _official(
    pred: Path,
    ref: Path | None,
    metric: str,
    *,
    task: "Task | None",
    images: Path | None,
    workers: int,
    scheduler: str | None,
) -> "OfficialScore":
    if metric == "spine2022":
        from medimg.scoring.study_scores import score_spine

        return score_spine(pred, ref)
    if metric not in (*_STUDIES, *_MASKS):
        from medimg.scoring.label_scores import score_labels

        return score_labels(pred, ref, metric, task=task)
    if ref is None:
        raise ConfigError(f"--metric {metric}: expected the table of labels behind {pred}, found none.")
    if metric == "rsna-pe":
        from medimg.scoring.study_scores import score_embolism

        return score_embolism(pred, ref)
    if metric == "hubmap":
        from medimg.scoring.hubmap import score_hubmap

        return score_hubmap(pred, ref)
    from medimg.scoring.gi_tract_table import score_uw_madison

    return score_uw_madison(pred, ref, images=images, workers=workers, scheduler=scheduler)


def score_table(pred: Path, ref: Path | None, *, task: "Task | None", out: Path | None) -> None:
    """Print every score of every label of a ``per_case.csv``, and write the files that were asked for."""
    from medimg.scoring.label_answers import read_label_answers
    from medimg.scoring.label_forms import LABEL_FORMS
    from medimg.scoring.label_scores import guessed_task, stated_task
    from medimg.scoring.label_table import label_arrays, summarise_labels, write_label_table
    from medimg.scoring.label_text import format_label_table
    from medimg.scoring.official import write_json

    rows = read_label_answers(pred, ref, LABEL_FORMS["auroc"])
    kind = task or stated_task(pred) or guessed_task(label_arrays(rows))
    summary = summarise_labels(rows, kind)
    title = str(pred) if ref is None else f"{pred} against {ref}"
    print(format_label_table(summary, title))
    if out is not None:
        write_label_table(out / "per_case.csv", rows)
        settings = {"predictions": str(pred), "reference": None if ref is None else str(ref)}
        write_json(out / "summary.json", {"title": title, "settings": settings, **summary})
        print(f"\nwrote {out / 'per_case.csv'} and {out / 'summary.json'}")
    print(
        "\nnext: medimg calibrate makes the probabilities honest and chooses thresholds; "
        "--metric scores by a competition's rule"
    )


def _next_step(found: "OfficialScore", metric: str, pred: Path, out: Path | None) -> str:
    """What the user does with this result."""
    broken = {case for cases in found.broken.values() for case in cases}
    if broken:
        return (
            f"\nnext: {len(broken)} {found.unit} contradict themselves; mend them with medimg submit "
            f"{shlex.quote(str(pred))} --format rsna-pe --cases test.csv --enforce-consistency --out FILE"
        )
    if out is None:
        return "\nnext: keep the rows of all cases by adding --out FOLDER"
    if metric in (*_STUDIES, *_MASKS):
        return f"next: look at the worst cases first: {out / 'per_case.csv'}"
    return f"next: medimg score {shlex.quote(str(out / 'per_case.csv'))} shows every score of every label"
