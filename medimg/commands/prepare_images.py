"""What ``medimg prepare`` does with a set of labelled 2D images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from medimg.datasets.table import TableColumns
    from medimg.preparation.image_prepare import ImagePreparation
    from medimg.records import ImageIndex


def prepare_image_set(
    index: ImageIndex,
    out: Path,
    preparation: ImagePreparation,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_bad: Literal["refuse", "skip"] = "refuse",
) -> int:
    """Decode, crop and shrink every image once, and write a table over the PNGs that a run can be pointed at.

    Args:
        index: The data set.
        out: Folder for the PNGs, ``manifest.jsonl``, ``cases.csv`` and, where cases fail, ``failed.csv``.
        preparation: What to do with each image.
        workers: Local processes.
        scheduler: Address of a Dask scheduler that replaces them.
        on_bad: Whether a file that cannot be used is an error at the end, or is left out.

    Returns:
        0.
    """
    from medimg.datasets.write_table import write_table
    from medimg.preparation.image_prepare import prepare_images

    prepared = prepare_images(index, preparation, out, workers=workers, scheduler=scheduler, on_bad=on_bad)
    table = out / "cases.csv"
    columns = write_table(table, prepared.index)
    kept = len(prepared.index.records) - prepared.done
    print(f"{prepared.done} cases prepared now, {kept} were up to date, {len(prepared.failed)} failed: {out}")
    print(f"a table of them: {table}")
    print("\n".join(["a config reads it with:", *_data_section(out, columns, index.task)]))
    return 0


def _data_section(out: Path, columns: TableColumns, task: str) -> list[str]:
    """The data section of a config, ready to be copied."""
    import yaml

    options = {
        "file": "cases.csv",
        "task": task,
        "columns": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(columns).items()
            if value is not None
        },
    }
    dataset = {"class_path": "medimg.datasets.ImageTable", "init_args": options}
    module = "medimg.datamodules.ImageDataModule"
    section = {"data": {"class_path": module, "init_args": {"root": str(out), "dataset": dataset}}}
    return yaml.safe_dump(section, sort_keys=False, width=110).splitlines()
