"""What the pages of the documents find where they are followed: one generator a page, advanced before each block.

Data are phantoms, or the fake studies of the other writers; runs come from ``runs(name, *verbs)``, made once for all.
"""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import yaml
from writers.decathlon import write_decathlon
from writers.images import write_picture, write_table
from writers.nifti import make_case

from medimg.cli import main
from medimg.io.nifti import read_grid, write_image
from medimg.phantoms.chest_scan import write_ct
from medimg.phantoms.lidc import write_lidc
from medimg.phantoms.nodules import write_nodules
from medimg.phantoms.ultrasound import write_ultrasound
from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.label_forms import RANZCR_LABELS
from medimg.scoring.label_table import label_row, write_label_table

CT_SIZE = (24, 64, 64)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
ORIGIN = np.array([[0, 0, 0, 0], [0, 0, 0, 239], [0, 0, 0, 0], [0, 0, 0, 0]])  # of BraTS's atlas


# ---- data -----------------------------------------------------------------------------------------


def write_busi(root: Path, images: int = 30) -> Path:
    """Ultrasound phantoms, laid out as BUSI."""
    write_ultrasound(root, images=images, size=(64, 64))
    return root


def write_hippocampus(root: Path) -> Path:
    """A Decathlon task with the classes of Task04."""
    return write_decathlon(root, cases=10, tests=2, labels=("Anterior", "Posterior"), shape=(18, 20, 22))


DATA = {"busi": write_busi, "hippocampus": write_hippocampus}
"""Data of the runs that pages begin with."""


def write_predictions(folder: Path, labels=("malignant",), n=60, seed=0, ids=None, task="binary", **facts):
    """A ``per_case.csv`` whose probabilities are right in most cases, and what it is."""
    rng = np.random.default_rng(seed)
    ids = ids or [f"c{number:03d}" for number in range(n)]
    target = np.random.default_rng(9).integers(0, 2, (len(ids), len(labels)))
    target[0], target[1] = 0, 1
    probs = np.clip(0.3 + 0.4 * target + rng.normal(0, 0.2, target.shape), 0.01, 0.99)
    rows = [
        label_row(case, f"p{number // 2}", labels, probs[number], target[number])
        for number, case in enumerate(ids)
    ]
    write_label_table(folder / "per_case.csv", rows)
    facts = {"classes": list(labels), "task": task, "split": "0123456789ab", "part": "validation", **facts}
    (folder / "predictions.json").write_text(json.dumps(facts))
    return folder


def write_masks(folder: Path, cases, seed=0, *, labels=None, probs=False, noise=0.35, **facts):
    """Masks of nested boxes with errors of their own, with probabilities and images beside them if asked."""
    labels = labels or {"a": 1, "b": 2}
    values = np.array([0, *labels.values()], np.uint8)
    for number, case in enumerate(cases):
        _, truth = make_case((8, 20, 20), 1, tuple(range(1, len(values))), number)
        logits = 2.5 * np.eye(len(values))[truth].transpose(3, 0, 1, 2)
        logits += np.random.default_rng([seed, number]).normal(0, 3 * noise, logits.shape)
        shares = np.exp(logits) / np.exp(logits).sum(0)
        write_image(folder / f"{case}.nii.gz", values[shares.argmax(0)], AFFINE)
        if probs:
            np.savez_compressed(folder / f"{case}.npz", probs=shares.astype(np.float16))
    facts = {
        "classes": list(labels),
        "head": "softmax",
        "labels": labels,
        "split": "s",
        "part": "validation",
        **facts,
    }
    (folder / "predictions.json").write_text(json.dumps(facts))
    return folder


def copy_run(run: Path, place: Path) -> Path:
    """A run made elsewhere, under the name that a page gives it."""
    shutil.copytree(run, place, dirs_exist_ok=True)
    return place


def json_of(page: Path) -> str:
    """The first JSON of a page."""
    return re.search(r"^```json\n(.*?)^```$", page.read_text(), re.M | re.S)[1]


# ---- pages that begin with nothing but data --------------------------------------------------------


def nothing(place, page, runs):
    """Blocks that need no files."""
    yield


def start(place, page, runs):
    write_ct(place / "STUDIES", cases=8, size=CT_SIZE)
    write_ct(place / "NEW", cases=1, seed=1, size=CT_SIZE)
    yield  # the demo
    yield  # identity and volumes
    # Somebody outlines: here a box in the middle, since only the way is looked at.
    for image in (place / "nifti").glob("*.nii.gz"):
        grid = read_grid(image)
        mask = np.zeros(grid.shape, np.uint8)
        mask[tuple(slice(size // 3, size // 2) for size in grid.shape)] = 1
        write_image(place / "masks" / image.name, mask, grid.affine)
    yield  # the folders
    (place / "DATA" / "dataset.json").write_text(json_of(page))
    yield


def with_busi(place, page, runs):
    write_busi(place / "data" / "BUSI")
    yield


def no_network(place, page, runs):
    from safetensors.torch import save_file

    from medimg.models import TimmClassifier

    write_busi(place / "data" / "BUSI")
    yield
    (place / "weights").mkdir()
    network = TimmClassifier("test_efficientnet", num_classes=1, in_channels=1, weights="random")
    save_file(network.body.state_dict(), place / "weights" / "lite0.safetensors")
    yield


def data_page(place, page, runs):
    root = write_hippocampus(place / "DATA")
    names = [path.name.removesuffix(".nii.gz") for path in sorted((root / "labelsTr").glob("*.nii.gz"))]
    folds = [{"train": [n for n in names if n not in names[k::5]], "val": names[k::5]} for k in range(5)]
    (place / "folds.json").write_text(json.dumps(folds))
    config = (place / "configs" / "hippocampus.yaml").read_text()
    (place / "configs" / "mine.yaml").write_text(config)
    yield


def dicom(place, page, runs):
    write_ct(place / "ct", cases=2, size=CT_SIZE)
    shutil.copytree(place / "ct" / "CT-9001", place / "SERIES")
    for name in ("CT-9001", "CT-9002"):
        shutil.copytree(place / "ct" / name, place / "STUDIES" / name)
    run = copy_run(runs("hippocampus"), place / "lightning_logs" / "ct" / "version_0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["init_args"]["preparation"]["spacing_mm"] = [8.0, 8.0, 8.0]  # a chest in one tile
    config["model"]["init_args"]["inferer"]["init_args"]["roi_size"] = [40, 48, 48]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["convert", str(place / "SERIES"), str(place / "seen.nii.gz")]) == 0
    grid = read_grid(place / "seen.nii.gz")
    mask = np.zeros(grid.shape, np.uint8)
    mask[4:8, 20:30, 20:30], mask[10:12, 5:9, 5:9] = 1, 2
    write_image(place / "mask.nii.gz", mask, grid.affine)
    yield


def deidentify(place, page, runs):
    write_ct(place / "SRC", cases=2, size=CT_SIZE)
    for extra in ("truth", "truth.csv", "about.txt"):
        path = place / "SRC" / extra
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    yield


def lidc(place, page, runs):
    write_lidc(place / "DIR" / "LIDC-IDRI", cases=6, size=CT_SIZE)
    yield


def nodules(place, page, runs):
    lidc_root = place / "DIR" / "LIDC-IDRI"
    write_lidc(lidc_root, cases=8, size=CT_SIZE)
    write_nodules(place / "crops", nodules=3, seed=5, size=16)
    (place / "DIR_OF_CROPS").mkdir()
    for crop in (place / "crops").rglob("*.nii.gz"):
        shutil.copy(crop, place / "DIR_OF_CROPS")
    yield


def ssl(place, page, runs):
    write_busi(place / "DIR" / "BUSI")
    write_nodules(place / "DIR" / "lidc", nodules=60, size=16)
    yield


def networks(place, page, runs):
    write_hippocampus(place / "DIR" / "Task04_Hippocampus")
    yield


def segmentation_2d(place, page, runs):
    write_busi(place / "DIR" / "BUSI")
    (place / "DIR" / "new").mkdir()
    for image in sorted((place / "DIR" / "BUSI" / "benign").glob("*).png"))[:3]:
        shutil.copy(image, place / "DIR" / "new")
    write_decathlon(
        place / "DIR" / "TaskCT", cases=6, channels=("CT",), labels=("liver", "spleen", "aorta"),
        shape=(8, 40, 48),
    )  # fmt: skip
    yield


def volumes_labels(place, page, runs):
    from medimg.phantoms.grade import write_grade
    from medimg.phantoms.nodule_mnist import write_nodule_mnist

    write_nodule_mnist(place / "DIR_OF_NPZ", nodules=60, size=16)
    write_grade(place / "DIR", cases=12, shape=(24, 24, 24))
    write_grade(place / "DIR_OF_NEW_CASES", cases=2, seed=1, shape=(24, 24, 24))
    yield


# ---- pages that begin with runs --------------------------------------------------------------------


def tta(place, page, runs):
    copy_run(runs("busi"), place / "lightning_logs" / "busi" / "version_0")
    copy_run(runs("hippocampus"), place / "lightning_logs" / "hippocampus" / "version_0")
    yield


export = tta


def explain(place, page, runs):
    run = runs("busi")
    copy_run(run, place / "lightning_logs" / "busi" / "version_0")
    shutil.copytree(run.parents[2] / "data", place / "DIR" / "busi")
    yield


def report(place, page, runs):
    for name in ("busi", "hippocampus"):
        copy_run(runs(name, "test"), place / "lightning_logs" / name / "version_0")
    yield


def pseudolabel(place, page, runs):
    write_busi(place / "DATA")
    write_ultrasound(place / "new", images=12, seed=1, size=(64, 64))
    (place / "NEW").mkdir()
    for number, image in enumerate(sorted((place / "new").rglob("*).png"))):
        shutil.copy(image, place / "NEW" / f"new{number:02d}.png")
    yield


def leaderboard(place, page, runs):
    logs = place / "lightning_logs"
    for seed, name in enumerate("ab"):
        write_predictions(logs / name / "version_0" / "test", seed=seed, part="test")
        folder = logs / f"{name}-volumes" / "version_0" / "test"
        regions = ("WT", "TC", "ET")
        rows = [
            [f"c{n}", f"p{n}", *np.round(np.random.default_rng([seed, n]).random(6), 4)] for n in range(12)
        ]
        columns = [f"{metric}_{name}" for metric in ("dice", "hd95") for name in regions]
        write_table(folder / "per_case.csv", ["case_id", "patient_id", *columns], rows)
        (folder / "masks").mkdir()
        facts = {"split": "s", "part": "test", "classes": list(regions)}
        (folder / "masks" / "predictions.json").write_text(json.dumps(facts))
    write_predictions(place / "ensembles" / "ab", seed=3, part="test")
    yield


# ---- pages that begin with predictions -------------------------------------------------------------


def ensemble(place, page, runs):
    cases = [f"c{number}" for number in range(10)]
    for seed, name in enumerate("ab"):
        run = place / "lightning_logs" / name / "version_0"
        write_masks(run / "predict", cases, seed, probs=True, part="predict")
        (run / "config.yaml").touch()
        write_predictions(place / "lightning_logs" / f"busi_{name}" / "out_of_fold", seed=seed)
        write_predictions(place / f"table_{name}", seed=seed)
        write_predictions(place / f"test_{name}", ids=[f"t{n}" for n in range(20)], seed=seed, part="test")
    for seed, name in enumerate("abc"):
        write_masks(place / f"masks_{name}", cases, seed)
        write_masks(place / f"net_{name}", cases, seed, probs=True)
    write_masks(place / "labelsTr", cases, noise=0.0)
    yield


def calibrate(place, page, runs):
    run = copy_run(runs("busi", "test"), place / "lightning_logs" / "busi" / "version_0")
    assert run.is_dir()
    write_predictions(place / "lightning_logs" / "busi" / "out_of_fold", n=80)
    breasts = [f"{number // 2}_{'LR'[number % 2]}" for number in range(80)]
    write_predictions(place / "ensembles" / "oof", labels=("cancer",), ids=breasts)
    write_predictions(place / "my", n=80)
    (place / "my" / "per_case.csv").rename(place / "my_table.csv")
    new = [f"9{number:03d}_{side}" for number in range(6) for side in "LR"]
    for seed, name in enumerate(("run_a", "run_b")):
        write_unlabelled(place / name / "predict", ["cancer"], new, seed=seed)
        (place / name / "config.yaml").touch()
    write_table(place / "sample_submission.csv", ["prediction_id", "cancer"], [[name, 0] for name in new])
    yield


def postprocess(place, page, runs):
    cases = [f"c{number}" for number in range(9)]
    write_masks(place / "run" / "test" / "masks", cases, part="test")
    write_masks(place / "predictions", cases, labels={"NCR": 1, "ED": 2, "ET": 3}, probs=True, part="predict")
    write_masks(place / "crossval" / "out_of_fold", cases)
    write_masks(place / "labelsTr", cases, noise=0.0)
    write_masks(place / "test_predictions", [f"t{number}" for number in range(3)], part="test")
    for number, case in enumerate(cases):
        image, _ = make_case((8, 20, 20), 1, (1, 2, 3), number)
        write_image(place / "imagesTs" / f"{case}_0000.nii.gz", image[0], AFFINE)
    yield


def score(place, page, runs):
    brats = [f"BraTS-GLI-{number:05d}-000" for number in range(3)]
    tumour = {"NCR": 1, "ED": 2, "ET": 3}
    write_masks(place / "predictions", brats, 1, labels=tumour)
    for number, case in enumerate(brats):
        _, mask = make_case((8, 20, 20), 1, (1, 2, 3), number)
        write_image(place / "BRATS" / case / f"{case}-seg.nii.gz", mask, AFFINE)
    write_masks(place / "masks", ["k1", "k2"], 1, labels={"kidney": 1, "tumour": 2})
    write_masks(place / "KIDNEYS", ["k1", "k2"], labels={"kidney": 1, "tumour": 2}, noise=0.0)
    write_predictions(place / "lightning_logs" / "a" / "version_0" / "test", part="test")
    rows = [[f"e{n}", f"s{n}", f"i{n}", 0, 1, *[0] * 8] for n in range(3)]
    header = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "pe_present_on_image", *EXAM_LABELS]
    write_table(place / "pe" / "train.csv", header, rows)
    rows = [[f"e{n}_{label}", 0.2] for n in range(3) for label in EXAM_LABELS] + [
        [f"i{n}", 0.2] for n in range(3)
    ]
    write_table(place / "pe" / "submission.csv", ["id", "label"], rows)
    uids = [f"u{number}" for number in range(12)]
    write_predictions(place / "ranzcr", RANZCR_LABELS, task="multilabel", ids=uids, part="predict")
    truth = np.random.default_rng(0).integers(0, 2, (12, len(RANZCR_LABELS)))
    truth[:2] = [[0], [1]]
    rows = [[uid, *truth[n], f"p{n}"] for n, uid in enumerate(uids)]
    write_table(place / "ranzcr" / "train.csv", ["StudyInstanceUID", *RANZCR_LABELS, "PatientID"], rows)
    slices = [f"case1_day0_slice_{number:04d}" for number in (1, 2, 3)]
    for number in (1, 2, 3):
        scan = (
            place
            / "uw"
            / "train"
            / "case1"
            / "case1_day0"
            / "scans"
            / f"slice_{number:04d}_8_6_1.50_1.50.png"
        )
        write_picture(scan, np.zeros((6, 8), np.uint8))
    for name, column, code in (
        ("train", "segmentation", "3 5 11 4"),
        ("submission", "predicted", "3 5 12 3"),
    ):
        rows = [[one, organ, code] for one in slices for organ in ("large_bowel", "small_bowel", "stomach")]
        write_table(place / "uw" / f"{name}.csv", ["id", "class", column], rows)
    yield


def submit(place, page, runs):
    breasts = [f"{number}_{side}" for number in range(10) for side in "LR"]
    write_unlabelled(place / "runs" / "net" / "predict", ["cancer"], breasts)
    (place / "runs" / "net" / "config.yaml").touch()
    write_table(place / "sample_submission.csv", ["prediction_id", "cancer"], [[name, 0] for name in breasts])
    write_predictions(place / "oof", ["cancer"], n=80)
    words = ["calibrate", "oof", "--method", "platt", "--out", "calibration.json"]
    assert main(words) == 0
    studies, slices = ["e1", "e2"], {"e1": ["i1", "i2"], "e2": ["i3", "i4"]}
    write_unlabelled(place / "exam", EXAM_LABELS, studies, task="multilabel")
    write_unlabelled(
        place / "image", ["pe_present_on_image"], [one for own in slices.values() for one in own]
    )
    ids = [f"{one}_{label}" for one in studies for label in EXAM_LABELS]
    ids += [one for own in slices.values() for one in own]
    write_table(place / "pe" / "sample_submission.csv", ["id", "label"], [[name, 0.5] for name in ids])
    rows = [[study, "s", one] for study, own in slices.items() for one in own]
    header = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    write_table(place / "pe" / "test.csv", header, rows)
    write_table(place / "isic" / "sample_submission.csv", ["image_name", "target"], [["a", 0], ["b", 0]])
    tumour = np.zeros((155, 240, 240), np.uint8)
    tumour[60:80, 90:120, 90:120], tumour[65:70, 100:110, 100:110] = 2, 4
    write_image(place / "tumours" / "mine.nii.gz", tumour, np.diag([-1.0, -1.0, 1.0, 1.0]) + ORIGIN)
    write_table(place / "ids.csv", ["case_id", "submission_id"], [["mine", "BraTS-GLI-00001-000"]])
    task = write_hippocampus(place / "Task04_Hippocampus")
    for image in (task / "imagesTs").glob("*.nii.gz"):
        grid = read_grid(image)
        mask = np.zeros(grid.shape, np.uint8)
        mask[4:8, 4:8, 4:8], mask[10:12, 4:8, 4:8] = 1, 2
        write_image(place / "masks" / image.name, mask, grid.affine)
    yield


def write_unlabelled(folder, labels, ids, *, task="binary", seed=0):
    """A ``per_case.csv`` of cases whose truth nobody knows."""
    rng = np.random.default_rng(seed)
    rows = [
        label_row(case, f"p{n // 2}", labels, rng.uniform(0.05, 0.95, len(labels)))
        for n, case in enumerate(ids)
    ]
    write_label_table(folder / "per_case.csv", rows)
    facts = {"classes": list(labels), "task": task, "split": "0123456789ab", "part": "predict"}
    (folder / "predictions.json").write_text(json.dumps(facts))
    return folder


def adjudicate(place, page, runs):
    write_table(place / "cases.csv", ["case_id", "patient_id"], [[f"c{n}", f"p{n // 2}"] for n in range(9)])
    for number in range(4):
        image, _ = make_case((6, 16, 16), 1, (1, 2), number)
        write_image(place / "DIR" / "imagesTr" / f"case{number}.nii.gz", image[0], AFFINE)
    yield
    yield
    for number, path in enumerate(sorted((place / "DIR" / "plan").glob("reader-*/worklist.csv"))):
        fill(
            path, lambda row, n=number: {"mass": str((int(row["case_id"][1:]) + n) % 2), "grade": str(1 + n)}
        )
    desks = sorted((place / "DIR" / "mask-plan").glob("reader-*"))
    for number, desk in enumerate(desks):
        for case in range(4):
            _, mask = make_case((6, 16, 16), 1, (1, 2), case)
            mask[:, : number * 8 * (case == 0)] = 0  # they differ in the first case
            write_image(desk / "masks" / f"case{case}.nii.gz", mask, AFFINE)
    yield
    for path in (place / "DIR" / "conflicts").glob("reader-*/worklist.csv"):
        fill(path, lambda row: {name: "1" for name in ("mass", "grade") if name in row})
    yield


def fill(path, answers):
    """What a reader writes into a worklist."""
    with path.open(newline="") as file:
        rows = [row | answers(row) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def agreement(place, page, runs):
    rng = np.random.default_rng(0)
    rows, findings = [], []
    for case in range(20):
        for reader in ("anna", "ben", "carla"):
            seen = [int((case + label) % 3 == 0) ^ int(rng.random() < 0.1) for label in range(2)]
            rows.append([f"c{case:02d}", f"p{case // 2}", reader, *seen])
            findings.append([f"c{case:02d}", reader, "Mass" if seen[0] else "No finding"])
    write_table(place / "readings.csv", ["case_id", "patient_id", "reader", "mass", "calcification"], rows)
    write_table(place / "train.csv", ["image_id", "rad_id", "class_name"], findings)
    for seed, reader in enumerate(("anna", "ben", "carla")):
        for number in range(3):
            _, mask = make_case((6, 16, 16), 1, (1,), number)
            mask[:, : 4 + seed] = 0
            write_image(place / reader / f"c{number}.nii.gz", mask, AFFINE)
    config = yaml.safe_load((place / "configs" / "busi.yaml").read_text())
    config["data"]["init_args"]["root"] = str(write_busi(place / "DATA"))
    (place / "my.yaml").write_text(yaml.safe_dump({**config, "experiment": "my"}))
    yield


WORLDS = {
    "start": start,
    "howto-adjudicate": adjudicate,
    "howto-agreement": agreement,
    "howto-calibrate": calibrate,
    "howto-crossval": with_busi,
    "howto-data": data_page,
    "howto-deidentify": deidentify,
    "howto-dicom": dicom,
    "howto-ensemble": ensemble,
    "howto-explain": explain,
    "howto-export": export,
    "howto-fusion": nothing,
    "howto-leaderboard": leaderboard,
    "howto-lidc": lidc,
    "howto-networks": networks,
    "howto-no-network": no_network,
    "howto-nodules": nodules,
    "howto-own-network": with_busi,
    "howto-pe": nothing,
    "howto-postprocess": postprocess,
    "howto-pseudolabel": pseudolabel,
    "howto-report": report,
    "howto-score": score,
    "howto-segmentation-2d": segmentation_2d,
    "howto-ssl": ssl,
    "howto-submit": submit,
    "howto-tta": tta,
    "howto-volumes-labels": volumes_labels,
}
"""What each page finds."""
