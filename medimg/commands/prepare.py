"""``medimg prepare``: raw cases into the patch store, ahead of a run."""

from pathlib import Path


def prepare(
    data: Path,
    *,
    config: Path | None = None,
    store: Path | None = None,
    workers: int = 2,
    scheduler: str | None = None,
) -> int:
    """Crop, reorient, resample and normalise every labelled case into the patch store.

    `fit` does this by itself when the store is missing or stale; this verb does it ahead, with more workers or on a
    cluster. Cases already done are skipped; a case that fails is named and the others go on.

    Args:
        data: Folder of the data set: Decathlon, nnU-Net or BraTS.
        config: Config whose data section is followed; by default z-scores at each case's own spacing.
        store: Folder under which prepared cases are kept; by default the config's, else `prepared`.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, such as tcp://10.0.0.1:8786, instead of local processes.
    """
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
    print(f"{done} of {len(index.records)} cases prepared now, the others were up to date: {folder}")
    more = f" --data.store {shlex.quote(str(store))}" if store is not None else ""
    name = shlex.quote(str(config)) if config is not None else "CONFIG"
    print(f"next: medimg fit --config {name} --data.root {shlex.quote(str(data))}{more}")
    return 0
