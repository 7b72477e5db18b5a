"""``medimg prepare``: raw cases into the patch store, ahead of a run."""

from pathlib import Path


def prepare(
    data: Path,
    *,
    config: Path | None = None,
    store: Path = Path("prepared"),
    workers: int = 2,
    scheduler: str | None = None,
) -> int:
    """Crop, reorient, resample and normalise every labelled case into the patch store.

    `fit` does this by itself when the store is missing or stale; this verb does it ahead, with more workers or on a
    cluster. Cases already done are skipped; a case that fails is named and the others go on.

    Args:
        data: Folder of the data set: Decathlon, nnU-Net or BraTS.
        config: Config whose `data.init_args.preparation` is followed; by default z-scores at each case's own spacing.
        store: Folder under which prepared cases are kept.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, such as tcp://10.0.0.1:8786, instead of local processes.
    """
    from medimg.datasets import index_dataset
    from medimg.io.store import PatchStore
    from medimg.preparation.prepare import Preparation, prepare_dataset, store_folder
    from medimg.preparation.settings import read_preparation

    index = index_dataset(data)
    preparation = read_preparation(config) if config is not None else Preparation()
    folder = store_folder(store, index, preparation)
    done = prepare_dataset(index, preparation, PatchStore(folder), workers=workers, scheduler=scheduler)
    print(f"{done} of {len(index.records)} cases prepared now, the others were up to date: {folder}")
    print(f"next: medimg fit --config {config or 'CONFIG'} --data.root {data}")
    return 0
