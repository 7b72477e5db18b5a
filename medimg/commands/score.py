"""``medimg score``: compare predictions with references, by a competition's rules."""

# Only the standard library is imported here, and the rest where it is used, so that the help answers at once.
from pathlib import Path
from typing import Any, Literal

from medimg.commands.parser import FileVerbParser
from medimg.errors import ConfigError

Metric = Literal[
    "auroc",
    "medmnist",
    "isic2020",
    "ranzcr",
    "rsna-miccai",
    "rsna-mammography",
    "aptos",
    "rsna-pe",
    "spine2022",
    "hubmap",
    "uw-madison",
    "transunet",
]


class ScoreParser(FileVerbParser):
    """A parser whose second word, the reference, may be missing."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Take ``--ref`` for a word instead of an option."""
        if args != ("--ref",):
            return super().add_argument(*args, **kwargs)
        kwargs.pop("required", None)
        return super().add_argument("ref", **{**kwargs, "nargs": "?"})


PARSER = ScoreParser
"""``medimg.cli`` reads the words with this parser."""


def score(
    pred: Path,
    ref: Path | None = None,
    *,
    metric: Metric | None = None,
    regions: str | None = None,
    labels: str | None = None,
    lesionwise: bool = False,
    challenge: Literal["gli", "ssa", "ped", "men", "met"] = "gli",
    out: Path | None = None,
    empty: Literal["brats", "skip", "one"] = "brats",
    nsd_tolerance_mm: float = 1.0,
    hd95_definition: Literal["area", "max"] = "area",
    ignore_label: int | None = None,
    other_labels: bool = False,
    task: Literal["binary", "multiclass", "multilabel"] | None = None,
    images: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Compare predictions with references: masks by Dice, HD95 and NSD, tables by a competition's own rule.

    Args:
        pred: A NIfTI mask, a folder of masks named by their case, a competition's table, or a `per_case.csv`.
        ref: The reference mask, or a folder of them, whose names may end in -seg or _seg; of a table, the
            labels in the competition's own columns. A `per_case.csv` that holds targets needs none.
        metric: The rule for a table; without one a `per_case.csv` gets every score of every label. Of masks,
            transunet gives TransUNet's own evaluator, to compare only.
        regions: Score regions of a challenge: brats2018 to brats2023, brats2024-gli, brats2024-ped or
            decathlon-brats.
        labels: Score these label values instead, such as anterior=1,posterior=2; 1+2 joins two values.
        lesionwise: Also score each lesion on its own, as BraTS does from 2023 on.
        challenge: Whose lesion-wise rule: glioma, sub-Saharan Africa and paediatric dilate by 3 steps,
            meningioma and metastases by 1; lesions count above 50 mm3, metastases above 2.
        out: Folder for per_case.csv and summary.json.
        empty: What an empty mask scores: brats (both empty Dice 1 and HD95 0, one empty 0 and 373.13 mm, or
            374 from 2023 on), one (the same with the volume's diagonal in mm), skip (cases with an empty
            reference are left out and counted).
        nsd_tolerance_mm: Distance between surfaces, in mm, that counts as agreement.
        hd95_definition: area weighs each piece of surface by its area, as BraTS does; max counts boundary
            voxels, as MONAI does.
        ignore_label: Voxels of the reference with this value are not scored.
        other_labels: Count label values outside the set as background instead of refusing them.
        task: Kind of the labels of a table, where neither its values nor predictions.json say.
        images: Folder of the scans of uw-madison, whose names hold their sizes.
        workers: Processes that score cases side by side.
        scheduler: Address of a Dask scheduler to send the cases to, such as tcp://host:port.

    Returns:
        The exit status, 0.
    """
    if out is not None and (out / "per_case.csv").resolve() in {
        path.resolve() for path in (pred, ref) if path
    }:
        raise ConfigError(f"--out {out}: would replace what is read. Give another folder.")
    if metric not in (None, "transunet") or (metric is None and pred.suffix.lower() == ".csv"):
        from medimg.commands.score_tables import check_table_options, score_official, score_table

        check_table_options(
            metric, regions=regions, labels=labels, lesionwise=lesionwise, images=images, task=task
        )
        if metric is None:
            score_table(pred, ref, task=task, out=out)
        else:
            score_official(
                pred, ref, metric, task=task, images=images, out=out, workers=workers, scheduler=scheduler
            )
        return 0
    from medimg.commands.score_masks import mask_settings, score_as_transunet, score_masks

    if ref is None or task is not None or images is not None:
        raise ConfigError(
            f"{pred}: expected masks and their references, as in medimg score PRED REF --regions brats2023, without "
            "--task and --images. A table ends in .csv or has a --metric."
        )
    settings = mask_settings(
        regions,
        labels,
        other_labels=other_labels,
        empty=empty,
        nsd_tolerance_mm=nsd_tolerance_mm,
        hd95_definition=hd95_definition,
        ignore_label=ignore_label,
        challenge=challenge if lesionwise else None,
    )
    title = f"{pred} against {ref}, {regions or labels}"
    score_all = score_as_transunet if metric == "transunet" else score_masks
    score_all(pred, ref, settings, title=title, out=out, workers=workers, scheduler=scheduler)
    return 0
