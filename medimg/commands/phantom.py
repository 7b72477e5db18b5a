"""``medimg phantom``: make studies with known truth, to try the other verbs without data."""

from pathlib import Path


def brats(
    out: Path,
    *,
    cases: int = 16,
    seed: int = 0,
    shape: tuple[int, int, int] = (155, 240, 240),
    workers: int = 1,
) -> None:
    """Write brains with known tumours, laid out as BraTS 2023.

    Four skull-stripped MR scans and the true labels a case. The same seed gives the same
    files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        cases: Number of cases.
        seed: Another seed gives other brains.
        shape: Voxels along depth, height and width, e.g. "[72,80,80]" for small volumes that train fast.
        workers: Processes to use; one case takes about 0.8 GB in each at full size.
    """
    import shlex

    # numpy and scipy are loaded here, so that --help answers at once.
    from medimg.phantoms.brats import write_brats

    folders = write_brats(out, cases=cases, seed=seed, shape=shape, workers=workers)
    root = shlex.quote(str(folders[0].parent))
    print(f"{len(folders)} phantoms in {root}, {folders[0].name} to {folders[-1].name}")
    print(f"next: medimg fit --config configs/brats.yaml --data.root {root}")


def mammography(
    out: Path,
    *,
    patients: int = 40,
    seed: int = 0,
    size: tuple[int, int] = (512, 416),
    workers: int = 1,
) -> None:
    """Write mammograms with known cancers, laid out as RSNA's screening competition.

    Four DICOM images a patient and train.csv. One breast in five holds a cancer. The same seed
    gives the same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        patients: Number of patients.
        seed: Another seed gives other breasts.
        size: Height and width of the images in pixels, e.g. "[256,208]" for small ones.
        workers: Processes to use.
    """
    import shlex

    # numpy, scipy and pydicom are loaded here, so that --help answers at once.
    from medimg.phantoms.mammography import write_mammography

    folders = write_mammography(out, patients=patients, seed=seed, size=size, workers=workers)
    root = shlex.quote(str(out))
    print(f"{len(folders)} phantoms in {root}, {folders[0].name} to {folders[-1].name}")
    print(f"next: medimg fit --config configs/mammography.yaml --data.root {root}")


phantom = {"brats": brats, "mammography": mammography}
