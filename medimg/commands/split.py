"""``medimg split``: deal the patients of a data set into folds, and write them as a table."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.errors import ConfigError
from medimg.records import ImageIndex, TableColumns, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.commands.split_source import Copies
    from medimg.io.nifti import Form
    from medimg.preparation.split_table import SplitRow
    from medimg.preparation.splits import Split
    from medimg.records import DatasetIndex

_FOLDS = 5


def split(
    data: Path,
    *,
    out: Path,
    folds: int | None = None,
    holdout: float = 0.0,
    seed: int | None = None,
    official: bool = False,
    from_: Path | None = None,
    overwrite: bool = False,
    config: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    form: Literal["agree", "sform", "qform"] = "agree",
    convention: str | None = None,
    table: Path | None = None,
    columns: TableColumns | None = None,
    task: Task = "binary",
) -> int:
    """Deal the patients of a data set into folds, and write a table that training reads.

    No patient stands in two folds. Labels of 2D images, lesion volumes and empty masks are spread evenly. The table
    has a row a case: `case_id`, `patient_id`, and the `fold` in which it validates, or `test`.

    Args:
        data: Folder of the data set, of volumes or of 2D images, or a MedMNIST file.
        out: Table to write; its name ends in .csv.
        folds: Number of folds to deal; 5 by default.
        holdout: Share of the patients to keep for a test, such as 0.1; they stand in no fold.
        seed: Breaks ties; one seed gives one split. 12345 by default.
        official: Take the split that the data set publishes in place of dealing.
        from_: Check and take the folds of a file: nnU-Net's splits_final.json, or a table as this verb writes.
        overwrite: Write over an existing table.
        config: Config of a run, whose data section says how the data are read.
        workers: Local processes that measure masks.
        scheduler: Address of a Dask scheduler, such as tcp://host:8786, in place of local processes.
        form: Which affine to trust in files whose sform and qform differ; "agree" refuses them.
        convention: Meaning of BraTS masks where names do not tell it, such as brats2024-ped.
        table: Table of a set of 2D images that is no known one; needs its columns.
        columns: Which column of that table holds what.
        task: What that table's labels are.
    """
    from medimg.commands.split_source import index_to_split
    from medimg.preparation.splits import SPLIT_SEED

    _check_out(out, overwrite)
    _check_choices(folds, holdout, official, from_)
    index, copies = index_to_split(data, config, table, columns, task, convention)
    given = _given_splits(index, from_) if official or from_ is not None else []
    _check_holdout(index, holdout)
    dealing = _Dealing(_FOLDS if folds is None else folds, holdout, SPLIT_SEED if seed is None else seed)
    if isinstance(index, ImageIndex):
        rows, balance = _split_images(index, given or dealing, copies, from_)
    else:
        volumes = _measure(index, form, workers, scheduler)
        rows, balance = _split_volumes(index, given or dealing, volumes, from_)
    _write(out, rows, [f"{index.name}: {index.root}", *balance])
    if not given and _published(index):
        print("the data set publishes a split of its own; --official takes it")
    name = "CONFIG" if config is None else shlex.quote(str(config))
    print(f"next: medimg fit --config {name} --data.split.file {shlex.quote(str(out))} --data.fold 0")
    return 0


@dataclass(frozen=True, slots=True)
class _Dealing:
    """How folds are dealt: how many, the share kept for a test, and what breaks ties."""

    num_folds: int
    holdout: float
    seed: int


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ".csv":
        raise ConfigError(
            f"--out {out}: expected a name that ends in .csv, by which training knows a table of folds."
        )
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists, and runs may refer to it: give another --out, or --overwrite.")


def _check_choices(folds: int | None, holdout: float, official: bool, from_: Path | None) -> None:
    if official and from_ is not None:
        raise ConfigError(f"--official and --from {from_} each name a split: give one of them.")
    if (official or from_ is not None) and (folds is not None or holdout):
        name = "--official" if official else "--from"
        raise ConfigError(
            f"{name} takes a split as it is, while --folds and --holdout deal one: leave them away."
        )


def _check_holdout(index: DatasetIndex | ImageIndex, holdout: float) -> None:
    if holdout and (published := _test_ids(index)):
        raise ConfigError(
            f"--holdout {holdout:g}: {index.name} publishes {len(published)} test cases already, and the two could not "
            "be told apart afterwards. Leave --holdout away."
        )


def _test_ids(index: DatasetIndex | ImageIndex) -> tuple[str, ...]:
    """Cases that the data set itself keeps for the test."""
    if isinstance(index, ImageIndex):
        from medimg.preparation.image_splits import official_test

        return official_test(index)
    return tuple(record.case_id for record in index.test)


def _published(index: DatasetIndex | ImageIndex) -> list[Split]:
    """Splits into training and validation that the data set publishes."""
    if isinstance(index, ImageIndex):
        from medimg.preparation.image_splits import official_splits

        return official_splits(index)
    from medimg.preparation.splits import Split

    return [Split(train, val) for train, val in index.folds]


def _given_splits(index: DatasetIndex | ImageIndex, from_: Path | None) -> list[Split]:
    """Splits of a file, or else those that the data set publishes."""
    from medimg.preparation.splits import read_split_file

    splits = _published(index) if from_ is None else read_split_file(from_)
    if not splits:
        found = f"{index.name} publishes none" if from_ is None else f"{from_} holds none"
        raise ConfigError(
            f"expected a split into training and validation cases, and {found}. Deal one with --folds."
        )
    return splits


def _split_images(
    index: ImageIndex, wanted: list[Split] | _Dealing, copies: Copies, from_: Path | None
) -> tuple[list[SplitRow], list[str]]:
    """Where each case stands, and the balance of the folds."""
    from medimg.commands.split_balance import image_balance
    from medimg.preparation.image_splits import split_images

    if isinstance(wanted, _Dealing):
        wanted = split_images(index, **asdict(wanted), keep_together=copies())
    rows = _rows(wanted, index, from_)
    return rows, image_balance(index, rows)


def _measure(index: DatasetIndex, form: Form, workers: int, scheduler: str | None) -> dict[str, float]:
    from medimg.preparation.volume_splits import lesion_volumes

    return lesion_volumes(index, form=form, workers=workers, scheduler=scheduler)


def _split_volumes(
    index: DatasetIndex, wanted: list[Split] | _Dealing, volumes_mm3: dict[str, float], from_: Path | None
) -> tuple[list[SplitRow], list[str]]:
    """Where each case stands, and the balance of the folds."""
    from medimg.commands.split_balance import volume_balance
    from medimg.preparation.volume_splits import split_volumes

    if isinstance(wanted, _Dealing):
        wanted = split_volumes(index, volumes_mm3, **asdict(wanted))
    rows = _rows(wanted, index, from_)
    return rows, volume_balance(volumes_mm3, rows)


def _rows(splits: Sequence[Split], index: DatasetIndex | ImageIndex, from_: Path | None) -> list[SplitRow]:
    from medimg.preparation.split_rows import rows_of_splits

    records = index.records if isinstance(index, ImageIndex) else (*index.records, *index.test)
    source = f"the split of {index.name}" if from_ is None else str(from_)
    return rows_of_splits(splits, records, published_test=_test_ids(index), source=source)


def _write(out: Path, rows: Sequence[SplitRow], lines: Sequence[str]) -> None:
    from medimg.preparation.split_table import write_split_table

    digest = write_split_table(out, rows)
    print("\n".join([*lines, f"written: {out}, sha256 {digest}"]))
