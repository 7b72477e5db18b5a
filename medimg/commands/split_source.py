"""The data set that ``medimg split`` deals: of volumes or of 2D images, as a config, a table or its layout says."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from medimg.datasets.table import index_table
from medimg.errors import ConfigError
from medimg.records import DatasetIndex, ImageIndex, TableColumns, Task

Copies = Callable[[], Sequence[Collection[str]]]


def index_to_split(
    data: Path,
    config: Path | None = None,
    table: Path | None = None,
    columns: TableColumns | None = None,
    task: Task = "binary",
    convention: str | None = None,
) -> tuple[DatasetIndex | ImageIndex, Copies]:
    """Index a data set as training will: a case without its image is refused.

    Args:
        data: Folder of the data set, or a MedMNIST file.
        config: Config of a run, whose data section says how the folder is read.
        table: Table of 2D images that are no known set.
        columns: Which column of that table holds what.
        task: What that table's labels are.
        convention: Meaning of BraTS masks where names do not tell it.

    Returns:
        The index, and what finds the sets of cases that are one picture.

    Raises:
        ConfigError: If both a config and a table are given, or a table without its columns.
        DataError: If no layout is recognised, or the data set cannot be used.
    """
    if config is not None:
        if table is not None:
            raise ConfigError(
                "--config says how the data are read, and so does --table: give one of them, found both."
            )
        return _as_configured(data, config, convention)
    if table is not None:
        if columns is None:
            raise ConfigError(
                "--table needs its columns: --columns.id, --columns.patient, --columns.images and --columns.labels "
                "name them."
            )
        images: ImageIndex | None = index_table(table, data, columns=columns, task=task)
    elif (data / "dataset.json").is_file():
        images = None
    else:
        from medimg.datasets.recognise_images import recognise_images

        images = recognise_images(data)
    if images is not None:
        return images, _files_of(images)
    from medimg.datasets import index_dataset

    return index_dataset(data, convention=convention), tuple


def _as_configured(
    data: Path, config: Path, convention: str | None
) -> tuple[DatasetIndex | ImageIndex, Copies]:
    from medimg.preparation.settings import data_section, read_data_settings

    if "dataset" not in data_section(config)[1]:
        settings = read_data_settings(config)
        return replace(settings, convention=convention or settings.convention).index(data), tuple
    from medimg.commands.prepare_images import read_image_set

    images = read_image_set(config)
    index = images.index(data)
    return index, lambda: [*images.known_copies(index), *_files_of(index)()]


def _files_of(index: ImageIndex) -> Copies:
    from medimg.preparation.image_splits import identical_files

    return lambda: identical_files(index.records)
