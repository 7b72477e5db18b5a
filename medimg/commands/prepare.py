"""``medimg prepare``: raw cases into the patch store or into small images, ahead of a run."""

from pathlib import Path
from typing import Literal


def prepare(
    data: Path,
    *,
    config: Path | None = None,
    store: Path | None = None,
    workers: int = 2,
    scheduler: str | None = None,
    out: Path | None = None,
    bits: Literal[8, 16] = 8,
    longest_side: int | None = None,
    crop: Literal["none", "contour"] = "none",
    windows_hu: tuple[tuple[float, float], ...] = (),
    on_bad: Literal["refuse", "skip"] = "refuse",
) -> int:
    """Crop, reorient, resample and normalise every labelled case into the patch store; shrink 2D images to PNG.

    `fit` does the former by itself when the store is missing or stale; this verb does it ahead, with more workers or
    on a cluster. Cases already done are skipped; a case that fails is named and the others go on.

    Args:
        data: Folder of the data set: Decathlon, nnU-Net or BraTS; or of 2D images, which need `out`.
        config: Config whose data section is followed; by default z-scores at each case's own spacing, and 2D images
            in the layout they turn out to have.
        store: Volumes: folder under which prepared cases are kept; by default the config's, else `prepared`.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, such as tcp://10.0.0.1:8786, instead of local processes.
        out: 2D images: folder for the PNGs and the table over them.
        bits: 2D images: bits of a pixel.
        longest_side: 2D images: shrink to this many pixels, the aspect kept.
        crop: 2D images: cut to the largest bright part, the breast or the body.
        windows_hu: CT images: lower and upper limit of each window, which becomes a channel.
        on_bad: 2D images: refuse files that cannot be used, or leave them out.
    """
    if out is not None:
        from medimg.commands.prepare_images import index_images, prepare_image_set
        from medimg.errors import ConfigError
        from medimg.preparation.image_prepare import ImagePreparation

        if store is not None:
            raise ConfigError("--store is where volumes go, and --out where 2D images go: give one of them")
        images = index_images(data, config)
        wanted = ImagePreparation(bits, longest_side, crop, windows_hu)
        return prepare_image_set(images, out, wanted, workers=workers, scheduler=scheduler, on_bad=on_bad)
    import shlex

    from medimg.io.store import PatchStore
    from medimg.preparation.prepare import prepare_dataset, store_folder
    from medimg.preparation.settings import DataSettings, read_data_settings

    settings = read_data_settings(config) if config is not None else DataSettings()
    index = settings.index(data)
    folder = store_folder(store or settings.store, index, settings.preparation)
    done = prepare_dataset(
        index, settings.preparation, PatchStore(folder), workers=workers, scheduler=scheduler
    )
    print(
        f"{done} of {len(index.records) + len(index.test)} cases prepared now, the others were up to date: {folder}"
    )
    more = f" --data.store {shlex.quote(str(store))}" if store is not None else ""
    name = shlex.quote(str(config)) if config is not None else "CONFIG"
    print(f"next: medimg fit --config {name} --data.root {shlex.quote(str(data))}{more}")
    return 0
