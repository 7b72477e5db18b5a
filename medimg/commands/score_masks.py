"""The masks' side of ``medimg score``: classes from options, rows from pairs of files, the table in print."""

# Only the standard library is imported here, and the rest where it is used, so that the help answers at once.
import difflib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from medimg.errors import ConfigError

if TYPE_CHECKING:
    from medimg.scoring.files import ScoreSettings
    from medimg.scoring.lesionwise import LesionChallenge, LesionRule
    from medimg.scoring.pairs import Pair
    from medimg.scoring.table import Row

T = TypeVar("T")

_SUGGESTED_LABELS = "--labels kidney=1,tumour=2, or --labels organ=1+2,tumour=2 where classes overlap"


def mask_settings(
    regions: str | None,
    labels: str | None,
    *,
    other_labels: bool,
    empty: Literal["brats", "skip", "one"],
    nsd_tolerance_mm: float,
    hd95_definition: Literal["area", "max"],
    ignore_label: int | None,
    challenge: "LesionChallenge | None",
) -> "ScoreSettings":
    """The classes, the label values that may occur, and the rules, as the options say.

    Raises:
        ConfigError: If neither or both of regions and labels are given, or one of them cannot be read.
    """
    from medimg.scoring.files import ScoreSettings

    if not 0 <= nsd_tolerance_mm < math.inf:
        raise ConfigError(
            f"--nsd_tolerance_mm: expected millimetres of at least 0, found {nsd_tolerance_mm}."
        )
    classes = _classes(regions, labels)
    return ScoreSettings(
        classes=classes,
        labels=None if other_labels else frozenset(value for values in classes.values() for value in values),
        empty=empty,
        nsd_tolerance_mm=nsd_tolerance_mm,
        hd95_definition=hd95_definition,
        brats_worst_mm=_worst_mm(regions),
        ignore_label=ignore_label,
        lesion_rule=None if challenge is None else _lesion_rule(challenge),
    )


def score_masks(
    pred: Path,
    ref: Path,
    settings: "ScoreSettings",
    *,
    title: str,
    out: Path | None,
    workers: int,
    scheduler: str | None,
) -> None:
    """Score all cases, print the table, write the files that were asked for, and say what to do next."""
    from medimg.scoring.files import score_pair

    scored = _score_all(
        pred, ref, partial(score_pair, settings=settings), workers=workers, scheduler=scheduler
    )
    for case in scored:
        if case.warning is not None:
            sys.stderr.write(f"warning: {case.warning}\n")
    _report([case.row for case in scored], title, _rules_line(settings), _plain(settings), out)


def score_as_transunet(
    pred: Path,
    ref: Path,
    settings: "ScoreSettings",
    *,
    title: str,
    out: Path | None,
    workers: int,
    scheduler: str | None,
) -> None:
    """The same by the rules of TransUNet's own evaluator."""
    from medimg.scoring.transunet import transunet_pair

    if settings.lesion_rule is not None:
        raise ConfigError("--lesionwise: TransUNet's evaluator knows no lesions. Leave it away.")
    score_case = partial(transunet_pair, classes=settings.classes)
    rows = _score_all(pred, ref, score_case, workers=workers, scheduler=scheduler)
    rules = (
        "\nTransUNet's own evaluator, to compare with its figures only: an empty reference scores Dice 1 and HD95 0, "
        "an empty prediction 0 and 0; HD95 is in voxels, whatever the title says"
    )
    plain = {
        "metric": "transunet",
        "classes": {name: list(values) for name, values in settings.classes.items()},
    }
    _report(rows, title, rules, plain, out)


def _classes(regions: str | None, labels: str | None) -> dict[str, tuple[int, ...]]:
    """Label values of each class, from one of the two options."""
    from medimg.scoring.regions import BRATS_REGIONS

    if (regions is None) == (labels is None):
        raise ConfigError(
            "say what to score, by one of two options: --regions brats2023 for the regions of a challenge "
            f"({', '.join(BRATS_REGIONS)}), or {_SUGGESTED_LABELS}."
        )
    if labels is not None:
        return parse_labels(labels)
    if regions is None or regions not in BRATS_REGIONS:
        near = difflib.get_close_matches(str(regions).lower(), BRATS_REGIONS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"--regions {regions}: expected one of {', '.join(BRATS_REGIONS)}.{hint}")
    return dict(BRATS_REGIONS[regions])


def parse_labels(text: str) -> dict[str, tuple[int, ...]]:
    """Read classes as they are given on the command line.

    Args:
        text: ``name=value`` with commas between; a value alone is its own name, ``+`` joins values.

    Returns:
        Label values of each class.

    Raises:
        ConfigError: If a part cannot be read, or a name stands twice.

    Example:
        >>> parse_labels("anterior=1,whole=1+2,3")
        {'anterior': (1,), 'whole': (1, 2), '3': (3,)}
    """
    classes: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, separator, values = part.strip().partition("=")
        try:
            numbers = tuple(int(value) for value in (values if separator else name).split("+"))
        except ValueError:
            numbers = ()
        if not name or name in classes or not numbers or min(numbers) < 1:
            raise ConfigError(f"--labels: cannot read {part!r} in {text!r}. Expected {_SUGGESTED_LABELS}.")
        classes[name] = numbers
    return classes


def _worst_mm(regions: str | None) -> float:
    """HD95 of a region that only one side holds: the challenge rounded it up in 2023."""
    from medimg.scoring.empty import BRATS_2023_WORST_MM, BRATS_WORST_MM

    from_2023 = regions is not None and regions.startswith(("brats2023", "brats2024"))
    return BRATS_2023_WORST_MM if from_2023 else BRATS_WORST_MM


def _lesion_rule(challenge: "LesionChallenge") -> "LesionRule":
    from medimg.scoring.lesionwise import LESION_RULES

    return LESION_RULES[challenge]


def _score_all(
    pred: Path, ref: Path, score_case: Callable[["Pair"], T], *, workers: int, scheduler: str | None
) -> list[T]:
    """What each case scores."""
    from medimg.datasets.brats import patient_id_of
    from medimg.parallel import map_cases, raise_failures
    from medimg.scoring.pairs import find_pairs

    pairs = find_pairs(pred, ref, patient_id_of=patient_id_of)
    names = [pair.case_id for pair in pairs]
    return raise_failures(map_cases(score_case, pairs, names=names, workers=workers, scheduler=scheduler))


def _report(
    rows: Sequence["Row"], title: str, rules: str, settings: Mapping[str, Any], out: Path | None
) -> None:
    """Print the table, write the files that were asked for, and say what to do next."""
    from medimg.scoring.table import format_table, summarise

    print(format_table(summarise(rows), title))
    print(rules)
    if out is not None:
        _write(out, rows, title, settings)
    print(_next_step(rows, out))


def _rules_line(settings: "ScoreSettings") -> str:
    form = "area-weighted" if settings.hd95_definition == "area" else "maximum of directed percentiles"
    return f"\nempty masks: rule {settings.empty}; HD95: {form}; NSD at {settings.nsd_tolerance_mm:g} mm"


def _write(out: Path, rows: Sequence["Row"], title: str, settings: Mapping[str, Any]) -> None:
    from medimg.scoring.table import read_per_case, summarise, write_per_case, write_summary

    write_per_case(out / "per_case.csv", rows)
    # The summary is made from the file, so that the two can never disagree.
    summary = summarise(read_per_case(out / "per_case.csv"))
    write_summary(out / "summary.json", summary, title=title, settings=settings)
    print(f"wrote {out / 'per_case.csv'} and {out / 'summary.json'}")


def _plain(settings: "ScoreSettings") -> Mapping[str, Any]:
    values = asdict(settings)
    return {**values, "labels": None if settings.labels is None else sorted(settings.labels)}


def _next_step(rows: Sequence["Row"], out: Path | None) -> str:
    """What the user does with this result."""
    if out is None:
        return "next: keep the rows of all cases by adding --out FOLDER"
    by_dice = {str(row["case_id"]): _mean_dice(row) for row in rows}
    defined = {case: value for case, value in by_dice.items() if not math.isnan(value)}
    if not defined:
        return f"next: no case has a Dice to rank; see {out / 'per_case.csv'}"
    worst = min(defined, key=lambda case: defined[case])
    return f"next: look at the case with the lowest mean Dice first: {worst} ({defined[worst]:.4f})"


def _mean_dice(row: "Row") -> float:
    values = [float(value) for key, value in row.items() if key.startswith("dice_")]
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
