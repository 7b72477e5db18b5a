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


def ultrasound(
    out: Path,
    *,
    images: int = 100,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    workers: int = 1,
) -> None:
    """Write breast ultrasound with known lesions, laid out as BUSI: a folder a class, masks beside the images.

    Half of the images show a benign lesion, three tenths a malignant one. The same seed gives the
    same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        images: Number of images.
        seed: Another seed gives other breasts.
        size: Height and least width of the images in pixels, e.g. "[128,128]" for small ones.
        workers: Processes to use.
    """
    import shlex

    # numpy and scipy are loaded here, so that --help answers at once.
    from medimg.phantoms.ultrasound import write_ultrasound

    files = write_ultrasound(out, images=images, seed=seed, size=size, workers=workers)
    root = shlex.quote(str(out))
    print(f"{len(files)} phantoms in {root}, {files[0].name} to {files[-1].name}")
    print(f"next: medimg fit --config configs/busi_segmentation.yaml --data.root {root}")


def ct(
    out: Path,
    *,
    cases: int = 8,
    seed: int = 0,
    size: tuple[int, int, int] = (120, 512, 512),
    smallest_mm: float = 4.0,
    workers: int = 1,
) -> None:
    """Write chest CT scans with known lung nodules, as DICOM series in Hounsfield units.

    A folder of slices a case, truth.csv, and the true nodules as NIfTI. The same seed gives the
    same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        cases: Number of scans.
        seed: Another seed gives other chests.
        size: Voxels along depth, height and width, e.g. "[60,128,128]" for small scans of the same 300 x 340 x 340 mm.
        smallest_mm: Smallest diameter of a nodule; about two voxels, so that small scans show what they hold.
        workers: Processes to use; a scan takes about 0.3 GB in each at full size.
    """
    import shlex

    # numpy, scipy and pydicom are loaded here, so that --help answers at once.
    from medimg.phantoms.chest_scan import write_ct

    folders = write_ct(out, cases=cases, seed=seed, size=size, smallest_mm=smallest_mm, workers=workers)
    root = shlex.quote(str(out))
    print(
        f"{len(folders)} phantoms in {root}, {folders[0].name} to {folders[-1].name}; the truth is in truth.csv"
    )
    print(f"next: medimg convert {root} --out {shlex.quote(f'{out}-nifti')}")


def lidc(
    out: Path,
    *,
    cases: int = 8,
    seed: int = 0,
    size: tuple[int, int, int] = (120, 512, 512),
    smallest_mm: float = 4.0,
    workers: int = 1,
) -> None:
    """Write chest CT scans with the XML of four readers, laid out as LIDC-IDRI.

    The readers outline the known nodules, miss some small ones and score malignancy around the
    truth. The same seed gives the same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        cases: Number of patients, one scan each.
        seed: Another seed gives other chests.
        size: Voxels along depth, height and width, e.g. "[60,128,128]" for small scans of the same 300 x 340 x 340 mm.
        smallest_mm: Smallest diameter of a nodule; about two voxels, so that small scans show what they hold.
        workers: Processes to use; a scan takes about 0.3 GB in each at full size.
    """
    import shlex

    # numpy, scipy and pydicom are loaded here, so that --help answers at once.
    from medimg.phantoms.lidc import write_lidc

    folders = write_lidc(out, cases=cases, seed=seed, size=size, smallest_mm=smallest_mm, workers=workers)
    root = shlex.quote(str(out))
    print(
        f"{len(folders)} phantoms in {root}, {folders[0].name} to {folders[-1].name}; the truth is in truth.csv"
    )
    print(f"next: medimg convert {root} --annotations {root} --out {shlex.quote(f'{out}-nifti')}")


def pe(
    out: Path,
    *,
    studies: int = 40,
    tests: int = 8,
    seed: int = 0,
    size: tuple[int, int, int] = (60, 256, 256),
    workers: int = 1,
) -> None:
    """Write CT angiographies with known pulmonary emboli, laid out as RSNA's challenge of 2020.

    DICOM studies, train.csv with the labels of exams and slices, and a test set. The same seed
    gives the same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        studies: Number of labelled studies; half of them hold clots.
        tests: Number of studies in the test set.
        seed: Another seed gives other patients.
        size: Voxels along depth, height and width, e.g. "[24,64,64]" for small studies of the same 210 x 256 x 256 mm.
        workers: Processes to use.
    """
    import shlex

    # numpy, scipy and pydicom are loaded here, so that --help answers at once.
    from medimg.phantoms.pe import write_pe

    folders = write_pe(out, studies=studies, tests=tests, seed=seed, size=size, workers=workers)
    root = shlex.quote(str(out))
    print(f"{len(folders)} phantoms in {root}/train, {tests} in {root}/test; the clots are in {root}/truth")
    print(f"next: medimg fit --config configs/pe.yaml --data.root {root}")


def nodules(
    out: Path,
    *,
    nodules: int = 200,
    seed: int = 0,
    size: int = 48,
    workers: int = 1,
) -> None:
    """Write cubes of chest CT around known lung nodules, with size, place and malignancy as a table.

    A NIfTI file a nodule and nodules.csv, which has the columns that a converted LIDC-IDRI has.
    The same seed gives the same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        nodules: Number of nodules, three of each patient.
        seed: Another seed gives other nodules.
        size: Voxels along each side of the cubes of 48 mm, e.g. 32 for small ones.
        workers: Processes to use.
    """
    import shlex

    # numpy and scipy are loaded here, so that --help answers at once.
    from medimg.phantoms.nodules import write_nodules

    files = write_nodules(out, nodules=nodules, seed=seed, size=size, workers=workers)
    root = shlex.quote(str(out))
    print(
        f"{len(files)} phantoms in {root}, {files[0].name} to {files[-1].name}; the labels are in nodules.csv"
    )
    columns = '--columns.id nodule_id --columns.patient patient_id --columns.images "[image]"'
    table = shlex.quote(str(out / "nodules.csv"))
    folds = shlex.quote(f"{out}-folds.csv")
    print(f'next: medimg split {root} --table {table} {columns} --columns.labels "[malignant]" --out {folds}')


def nodulemnist3d(
    out: Path,
    *,
    nodules: int = 400,
    seed: int = 0,
    size: int = 28,
    workers: int = 1,
) -> None:
    """Write cubes around known lung nodules as one .npz in the form of MedMNIST's NoduleMNIST3D.

    Bytes, malignant or not, with train, val and test as the real set has them. The file is written
    whole or not at all.

    Args:
        out: New or empty folder to write to.
        nodules: Number of nodules, three of each patient; undecided ones are then left out.
        seed: Another seed gives other nodules.
        size: Voxels along each side of the cubes; MedMNIST has 28 and 64.
        workers: Processes to use.
    """
    import shlex

    # numpy and scipy are loaded here, so that --help answers at once.
    from medimg.phantoms.nodule_mnist import write_nodule_mnist

    path = write_nodule_mnist(out, nodules=nodules, seed=seed, size=size, workers=workers)
    print(f"phantoms in {shlex.quote(str(path))}")
    configs = "--config configs/nodulemnist3d.yaml --config configs/overlays/nodulemnist3d-small.yaml"
    print(f"next: medimg fit {configs} --data.root {shlex.quote(str(out))}")


def grade(
    out: Path,
    *,
    cases: int = 90,
    seed: int = 0,
    shape: tuple[int, int, int] = (155, 240, 240),
    grades: tuple[int, ...] = (2, 3, 4),
    workers: int = 1,
) -> None:
    """Write brains with tumours of known WHO grade, laid out as BraTS 2023 with a table of grades.

    Four skull-stripped MR scans and the true labels a case, and grades.csv. The same seed gives the
    same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        cases: Number of cases.
        seed: Another seed gives other brains.
        shape: Voxels along depth, height and width, e.g. "[56,64,64]" for small volumes that train fast.
        grades: WHO grades to draw, of 1 to 4.
        workers: Processes to use; one case takes about 0.8 GB in each at full size.
    """
    import shlex

    # numpy and scipy are loaded here, so that --help answers at once.
    from medimg.phantoms.grade import write_grade

    folders = write_grade(out, cases=cases, seed=seed, shape=shape, grades=grades, workers=workers)
    root = shlex.quote(str(out))
    print(
        f"{len(folders)} phantoms in {root}, {folders[0].name} to {folders[-1].name}; the grades are in grades.csv"
    )
    configs = "--config configs/glioma_grade.yaml --config configs/overlays/glioma_grade-small.yaml"
    print(f"next: medimg fit {configs} --data.root {root}")


def fusion(
    out: Path,
    *,
    cases: int = 400,
    seed: int = 0,
    size: int = 64,
    workers: int = 1,
) -> None:
    """Write images and a table of the same cases, each of which holds half of what the label depends on.

    A PNG file a case and cases.csv with numbers, categories, blank fields and a split. The same seed
    gives the same files, and a stopped run goes on where it was.

    Args:
        out: New or empty folder to write to.
        cases: Number of cases.
        seed: Another seed gives other cases.
        size: Height and width of the images in pixels.
        workers: Processes to use.
    """
    import shlex

    # numpy and scipy are loaded here, so that --help answers at once.
    from medimg.phantoms.fusion import write_fusion

    files = write_fusion(out, cases=cases, seed=seed, size=size, workers=workers)
    root = shlex.quote(str(out))
    print(f"{len(files)} phantoms in {root}, {files[0].name} to {files[-1].name}; the table is cases.csv")
    print(f"next: medimg fit --config configs/fusion.yaml --data.root {root}")


phantom = {
    "brats": brats,
    "mammography": mammography,
    "ultrasound": ultrasound,
    "ct": ct,
    "lidc": lidc,
    "pe": pe,
    "nodules": nodules,
    "nodulemnist3d": nodulemnist3d,
    "grade": grade,
    "fusion": fusion,
}
