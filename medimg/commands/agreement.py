"""``medimg agreement``: how far readers agree, what they agree on, and which labels are probably wrong."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.commands.agreement_output import TABLE, report
from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medimg.curation.agreement import Bootstrap
    from medimg.curation.alpha import Kind
    from medimg.curation.consensus import LabelConsensus
    from medimg.curation.readings import Readings

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: the readings are a list."""

CONSENSUS = "consensus.csv"
_MAIN = {"nominal": "kappa", "ordinal": "quadratic_kappa", "interval": "alpha", "ratio": "alpha"}
"""What the picture of the pairs shows."""


def agreement(
    readings: list[Path],
    *,
    out: Path,
    labels: str | None = None,
    kind: Literal["nominal", "ordinal", "interval", "ratio"] = "nominal",
    consensus: Literal["majority", "median", "dawid_skene", "half", "staple", "none"] | None = None,
    case: str = "",
    reader: str = "",
    finding: str = "",
    no_finding: str = "",
    lidc: bool = False,
    suspects: bool = False,
    images: Path | None = None,
    config: Path | None = None,
    task: Literal["binary", "multiclass", "multilabel"] | None = None,
    nsd_tolerance_mm: float = 1.0,
    empty: Literal["skip", "one"] = "skip",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Measure how far readers agree, make one answer out of theirs, or rank labels that are probably wrong.

    Of a table: percentage agreement, Fleiss' kappa and Krippendorff's alpha of all readers, Cohen's kappas of each two.
    Of masks: Dice, surface Dice and HD95 of each two. Intervals are by a bootstrap over patients. Writes agreement.csv,
    pairs.csv, pictures, and consensus.csv or a folder of masks.

    Args:
        readings: A table with a row for each case and reader; or the folders of two readers' masks or more; or, with
            --lidc, the folder of LIDC-IDRI's XML files; or, with --suspects, a per_case.csv or its folder.
        out: Folder to write to; with --suspects, a table whose name ends in .csv.
        labels: Columns of the table to compare, such as mass,calcification, all others by default; of masks
            tumour=1,organ=1+2.
        kind: Whether labels are names, grades in order, numbers, or numbers from a true zero.
        consensus: For labels majority (of names, default), median (of grades and numbers, default) or dawid_skene; for
            masks half (of the readers or more, default), majority or staple; or none.
        case: Column of the cases; by default case_id, case or image_id.
        reader: Column of the readers; by default reader, reader_id or rad_id.
        finding: Column that names one finding a row; a reader's other findings are then absent.
        no_finding: Word in that column which says that nothing was found.
        lidc: The folder holds LIDC-IDRI's XML files: nodules are cases, and the nine characteristics labels.
        suspects: Rank labels by how little out-of-fold predictions support them (confident learning).
        images: Folder of the predicted images, with --suspects: one picture under two labels comes first.
        config: Config that says how the images are read, where their layout does not.
        task: Kind of the labels, with --suspects, where predictions.json does not say it.
        nsd_tolerance_mm: Distance between surfaces, in mm, that counts as agreement.
        empty: What a class scores that both readers left empty: skip leaves the case out and counts it, one gives 1.
        level: Share of the resampled values inside an interval.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.
        overwrite: Write over earlier results in the output folder.
        workers: Processes that compare masks side by side.
        scheduler: Address of a Dask scheduler to send the masks to, such as tcp://host:port.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(
            f"--level and --resamples: expected a share in (0, 1) and 1 or more, found {level:g} and {resamples}."
        )
    folders = all(path.is_dir() for path in readings)
    if (len(readings) > 1 and not folders) or (len(readings) > 1 and (lidc or suspects)):
        raise ConfigError(
            f"{' '.join(map(str, readings))}: expected one table, or folders of masks, one a reader. Join tables of "
            "several readers into one with a column reader."
        )
    _check_out(out, suspects=suspects, overwrite=overwrite)
    from medimg.curation.agreement import Bootstrap

    bootstrap = Bootstrap(level, resamples, seed)
    if suspects:
        return _suspects(readings[0], out, task, _copies(images, config, workers, scheduler))
    if lidc:
        return _of_lidc(readings[0], out, _for_labels(consensus), bootstrap)
    if folders:
        from medimg.commands.agreement_masks import compare_masks

        if consensus in ("median", "dawid_skene"):
            raise ConfigError(
                f"--consensus {consensus} is for tables. Masks have half, majority, staple or none."
            )
        return compare_masks(
            readings, out, labels, consensus=consensus or "half", nsd_tolerance_mm=nsd_tolerance_mm, empty=empty,
            bootstrap=bootstrap, workers=workers, scheduler=scheduler,
        )  # fmt: skip
    from medimg.curation.readings import Columns, read_readings

    names = tuple(name.strip() for name in (labels or "").split(",") if name.strip())
    said = read_readings(readings[0], Columns(case, reader, names, finding, no_finding))
    compare_labels(said, dict.fromkeys(said.labels, kind), out, _for_labels(consensus), bootstrap)
    print(f"next: medimg adjudicate conflicts {shlex.quote(str(readings[0]))} --third NAME --out DIR")
    return 0


def _check_out(out: Path, *, suspects: bool, overwrite: bool) -> None:
    if suspects != (out.suffix.lower() == ".csv"):
        expected = "a table whose name ends in .csv" if suspects else "a folder"
        raise ConfigError(f"--out {out}: expected {expected}{' with --suspects' if suspects else ''}.")
    written = out if suspects else out / TABLE
    if written.exists() and not overwrite:
        raise ConfigError(f"--out {out}: {written} exists already. Give another --out, or --overwrite.")


def _for_labels(consensus: str | None) -> LabelConsensus | Literal["none"] | None:
    match consensus:
        case None | "majority" | "median" | "dawid_skene" | "none":
            return consensus
        case _:
            raise ConfigError(
                f"--consensus {consensus} is for masks. Labels have majority, median, dawid_skene or none."
            )


def compare_labels(
    readings: Readings,
    kinds: Mapping[str, Kind],
    out: Path,
    consensus: LabelConsensus | Literal["none"] | None,
    bootstrap: Bootstrap,
    *,
    by_pairs: bool = True,
) -> None:
    """Compare the readers of a table, write everything and print the figures of all readers.

    Args:
        readings: What was said.
        kinds: Level of measurement of each label.
        out: Folder to write to.
        consensus: How to make one answer; ``None`` takes the usual one of each kind.
        bootstrap: How intervals are made.
        by_pairs: Also compare each two readers; false where a reader's name means another person in each case.
    """
    from medimg.curation.agreement import agreement_of_all, agreement_of_pairs
    from medimg.curation.consensus import consensus_method, label_consensus, write_consensus

    found = {}
    if consensus != "none":
        methods = {label: consensus_method(consensus, kinds[label]) for label in readings.labels}
        for place, label in enumerate(readings.labels):
            found[label] = label_consensus(readings.values[:, :, place], methods[label])
    everyone = agreement_of_all(readings, kinds, bootstrap)
    pairs = agreement_of_pairs(readings, kinds, bootstrap) if by_pairs else []
    print(
        f"{len(readings.cases)} cases of {len(set(readings.patients))} patients, {len(readings.readers)} readers"
    )
    main = {_MAIN[kinds[label]] for label in readings.labels}
    measure = main.pop() if len(main) == 1 else "alpha"
    report(everyone, pairs, out, readings.readers, measure, bootstrap)
    if found:
        write_consensus(out / CONSENSUS, readings, found)
        decided = sum(int((one.values == one.values).sum()) for one in found.values())
        print(
            f"consensus in {out / CONSENSUS}: {decided} of {len(readings.cases) * len(found)} labels decided"
        )


def _of_lidc(
    folder: Path, out: Path, consensus: LabelConsensus | Literal["none"] | None, bootstrap: Bootstrap
) -> int:
    from medimg.commands.agreement_lidc import KINDS, lidc_readings

    readings, seen = lidc_readings(folder)
    # The readers of a file are anonymous and others in the next one, so that pairs of them mean nothing.
    compare_labels(readings, KINDS, out, consensus, bootstrap, by_pairs=False)
    counts = ", ".join(f"{number} by {readers}" for readers, number in sorted(seen.items(), reverse=True))
    print(f"nodules outlined by how many readers: {counts}")
    print(f"next: medimg convert DICOM --annotations {shlex.quote(str(folder))} --out DIR")
    return 0


def _copies(images: Path | None, config: Path | None, workers: int, scheduler: str | None) -> list[set[str]]:
    """Sets of cases that are one picture, pixel by pixel."""
    if images is None:
        return []
    from medimg.commands.split_source import index_to_split
    from medimg.preparation.image_audit import audit_images, keep_together
    from medimg.records import ImageIndex

    index, _ = index_to_split(images, config)
    if not isinstance(index, ImageIndex):
        raise ConfigError(f"--images {images}: expected a set of 2D images, found volumes. Leave it away.")
    return keep_together(audit_images(index, workers=workers, scheduler=scheduler, look_alikes=False))


def _suspects(
    path: Path, out: Path, task: Literal["binary", "multiclass", "multilabel"] | None, copies: list[set[str]]
) -> int:
    from medimg.curation.label_errors import find_suspects, write_suspects
    from medimg.scoring.label_scores import guessed_task, stated_task
    from medimg.scoring.label_table import label_arrays, read_label_table

    table = path / "per_case.csv" if path.is_dir() else path
    arrays = label_arrays(read_label_table(table))
    found, wrong = find_suspects(arrays, task or stated_task(table) or guessed_task(arrays), copies)
    write_suspects(out, found)
    for rank, one in enumerate(found[:10], start=1):
        twin = f", same picture as {one.copy_of}" if one.copy_of else ""
        line = f"given {one.given}, predicted {one.suggested}, margin {one.margin:.3f}"
        print(f"{rank:3d}  {one.case_id}: {line}{twin}")
    estimates = ", ".join(f"{number:.1f}{f' of {label}' if label else ''}" for label, number in wrong.items())
    print(
        f"{len(found)} suspect labels of {len(arrays.case_ids)} cases in {out}; estimated wrong: {estimates}"
    )
    print(
        "next: look at the first of them, and let two readers judge them blind: medimg adjudicate plan --help"
    )
    return 0
