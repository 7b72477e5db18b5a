"""What ``medimg prepare`` does with a set of labelled 2D images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from medimg.datasets.image_set import ImageSet
    from medimg.preparation.image_prepare import ImagePreparation
    from medimg.records import ImageIndex, TableColumns


def index_images(data: Path, config: Path | None) -> ImageIndex:
    """Index 2D images, those that are not there among them: they fail one by one, and are listed.

    Args:
        data: Folder of the data set.
        config: Config of a run, whose ``data.init_args.dataset`` names the layout and its options; ``None``
            recognises the layout.

    Raises:
        DataError: If no layout is recognised, or the data set cannot be used.
        ConfigError: If the config names none.
    """
    from dataclasses import replace

    from medimg.datasets.image_set import ListedImages
    from medimg.datasets.recognise_images import recognise_images
    from medimg.datasets.table import ImageTable
    from medimg.errors import DataError

    if config is not None:
        images = read_image_set(config)
        listed = isinstance(images, ListedImages | ImageTable)
        return (replace(images, missing="keep") if listed else images).index(data)  # type: ignore[type-var]
    found = recognise_images(data, missing="keep", repeats="held_out")
    if found is None:
        raise DataError(
            f"{data}: no set of 2D images was recognised there; name its layout in a config (--config), or leave "
            "--out away for volumes"
        )
    return found


def read_image_set(config: Path) -> ImageSet:
    """The set of images that a config names, with its options.

    Args:
        config: YAML of a run.

    Raises:
        ConfigError: If it names none, or one that cannot be built.
    """
    from medimg.commands.parser import ShortErrors
    from medimg.commands.parts import check_parts
    from medimg.datasets.image_set import ImageSet
    from medimg.errors import ConfigError
    from medimg.preparation.settings import data_section

    _, arguments = data_section(config)
    if "dataset" not in arguments:
        raise ConfigError(f"{config}: expected data.init_args.dataset, which names the layout of 2D images")
    parser = ShortErrors()
    parser.add_argument("--dataset", type=ImageSet, required=True)
    settings = parser.parse_object({"dataset": arguments["dataset"]})
    check_parts(settings)
    images: ImageSet = parser.instantiate_classes(settings).dataset
    return images


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
