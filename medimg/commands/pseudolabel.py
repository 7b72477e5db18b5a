"""``medimg pseudolabel``: sure predictions become labels for the next training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError
from medimg.records import TableColumns, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.ensembling.members import Member

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: members and thresholds are lists."""


def pseudolabel(
    members: list[Path],
    *,
    out: Path,
    images: Path,
    split: Path,
    positive: list[str] | None = None,
    negative: list[str] | None = None,
    quota: list[str] | None = None,
    max_spread: float | None = None,
    soft: bool = False,
    weight: str = "1",
    min_confidence: float = 0.0,
    min_dice: float = 0.0,
    previous: Path | None = None,
    labelled: Path | None = None,
    skip_known: bool = False,
    config: Path | None = None,
    table: Path | None = None,
    columns: TableColumns | None = None,
    task: Task | None = None,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Turn sure predictions of unlabelled cases into labels for the next training.

    Classifications become a table, volumes a folder of masks, in which voxels that are not sure are ignored. Members
    are averaged, and must agree. Cases of the split are refused, by id, by patient, and by the bytes of their images.

    Args:
        members: Folders of predictions, tables of a classification, or run folders, of which predict is taken.
        out: Table to write, whose name ends in .csv, or folder for masks.
        images: Folder of the images that were predicted.
        split: Folds of the labelled data, a table of medimg split; none of its cases may be pseudo-labelled.
        positive: Least probability of a positive label, of an exclusive class or of a voxel's class; 0.95, or by
            name, such as 0.95 malignant=0.9.
        negative: Highest probability of a negative label, 0.05 by default.
        quota: Most certain ones to take of each class, or of the volumes: a number, or a share below 1; also by
            name, and mass:0=200 for the negatives of a label alone.
        max_spread: Largest difference between two members' probabilities.
        soft: Write the mean probability of what is sure in place of 1 and 0.
        weight: Weight of each case in training, or the word confidence.
        min_confidence: Least mean probability of the foreground of a volume that is taken.
        min_dice: Least mean Dice between the members of a volume and their average.
        previous: What this verb wrote in the round before; its labels stay unless they are now contradicted.
        labelled: Folder of the labelled data, in which copies are looked for; by default that of the run's config.
        skip_known: Leave known cases out instead of refusing them.
        config: Config that says how the images are read; by default that of the first member's run.
        table: Table that lists the images, with its columns; by default each image is a case.
        columns: Which column of that table holds what.
        task: Kind of the labels, where predictions.json does not say it.
        overwrite: Write over what this verb wrote there before.
        workers: Processes that work on volumes side by side.
        scheduler: Address of a Dask scheduler to send the volumes to, such as tcp://host:port.
    """
    found = find_predictions(members)
    number = weight_of(weight)
    config = config_of(found[0], config)
    if out.suffix.lower() == ".csv":
        if min_confidence or min_dice:
            raise ConfigError("--min_confidence and --min_dice are for volumes; tables have --max_spread.")
        from medimg.commands.pseudolabel_images import ImageWords, label_images

        words = ImageWords(positive, negative, quota, max_spread, soft, number, task)
        return label_images(
            found, out, images, split, words, previous=previous, labelled=labelled, skip_known=skip_known,
            config=config, table=table, columns=columns, overwrite=overwrite,
        )  # fmt: skip
    for name, value in (("negative", negative), ("table", table), ("task", task), ("max_spread", max_spread)):
        if value is not None:
            raise ConfigError(f"--{name} is for tables, and --out {out} is no .csv, so a folder of masks.")
    if soft:
        raise ConfigError("--soft is for tables: masks hold one label a voxel.")
    from medimg.commands.pseudolabel_volumes import VolumeWords, label_volumes

    volume_words = VolumeWords(positive, quota, number, min_confidence, min_dice)
    return label_volumes(
        found, out, images, split, volume_words, previous=previous, labelled=labelled, skip_known=skip_known,
        config=config, overwrite=overwrite, workers=workers, scheduler=scheduler,
    )  # fmt: skip


def find_predictions(paths: Sequence[Path]) -> list[Member]:
    """The members, each once, one or more.

    Raises:
        ConfigError: If one is named twice.
        DataError: If there is nothing at a path, or these are predictions of labelled cases.
    """
    from medimg.ensembling.members import find_member, find_members

    return find_members(paths, part="predict") if len(paths) > 1 else [find_member(paths[0], part="predict")]


def weight_of(text: str) -> float | None:
    """Weight of each case; ``None`` for its confidence.

    Raises:
        ConfigError: If it is neither a number above 0 nor the word.
    """
    if text == "confidence":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--weight {text}: expected a number above 0, or the word confidence.")
    return value


def config_of(member: Member, config: Path | None) -> Path | None:
    """The config that was named, else that of the run that a member belongs to; ``None`` for any other folder."""
    from medimg.runs import CONFIG

    places = [Path(member.name) / CONFIG, member.folder / CONFIG, member.folder.parent / CONFIG]
    return config or next((place for place in places if place.is_file()), None)
