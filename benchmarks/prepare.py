"""Raw files to a planned and prepared data set, beside nnU-Net 2.8.1, as whole processes in one run.

    MEDIMG_REAL_DATA=DIR uv run --group bench python benchmarks/prepare.py [--rounds 2] [--processes 2]

Data: Task04_Hippocampus (MRI, about 36 x 50 x 35 voxels) of the Medical Segmentation Decathlon, in the folder named
by MEDIMG_REAL_DATA or --data. Ours: ``medimg plan`` and ``medimg prepare`` with the planned config.
nnU-Net's: ``nnUNetv2_plan_and_preprocess`` of 3d_fullres alone, from its raw layout, which is made
before the clock starts. Both begin in an empty folder, start their interpreters within the
measured time, use the same number of processes with one thread each, and alternate; the
best round of each side counts. At the end both must have prepared every case and planned the same patch and batch.

Predicted: the files are small, so the time is imports and overhead by case. nnU-Net imports torch in
every process and works through float64 scikit-image; ours imports numpy and scipy: 0.1 x. Measured on 2 cores that
others used as well: 4.5 s beside 32.2 s (0.14 x); in a busier minute 6.8 s beside 38.0 s (0.18 x).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from medimg.datasets.decathlon import index_decathlon
from medimg.io.store import PatchStore
from medimg.preparation.prepare import stale_cases, store_folder
from medimg.preparation.settings import read_data_settings
from medimg.records import DatasetIndex

NAME = "Dataset004_Hippocampus"
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def main() -> None:
    """Measure and print; the last line is the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDIMG_REAL_DATA"), help="real images")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.data is None:
        parser.error("name the folder that holds Task04_Hippocampus: MEDIMG_REAL_DATA or --data")
    root = Path(args.data).resolve() / "Task04_Hippocampus"
    index = index_decathlon(root)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        raw = convert(index, Path(folder) / "raw" / NAME)
        for number in range(args.rounds):
            place = Path(folder) / f"round{number}"
            ours.append(time_ours(root, place / "ours", args.processes))
            theirs.append(time_nnunet(raw.parent, place / "nnunet", args.processes))
            print(f"round {number + 1}: ours {ours[-1]:.1f} s, nnU-Net {theirs[-1]:.1f} s", flush=True)
            check(root, place)
            shutil.rmtree(place)
    print(
        f"PREPARE: ours {min(ours):.1f} s, nnU-Net {min(theirs):.1f} s, ratio {min(ours) / min(theirs):.3f}"
    )


def convert(index: DatasetIndex, raw: Path) -> Path:
    """Copy a Decathlon task of one modality into nnU-Net's raw layout."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for record in index.records:
        assert record.mask is not None
        shutil.copy(record.images[0], raw / "imagesTr" / f"{record.case_id}_0000.nii.gz")
        shutil.copy(record.mask, raw / "labelsTr" / f"{record.case_id}.nii.gz")
    content = {
        "channel_names": {"0": index.channels[0]},
        "labels": {"background": 0, **index.labels},
        "numTraining": len(index.records),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    return raw


def time_ours(root: Path, folder: Path, processes: int) -> float:
    """Seconds of ``medimg plan`` and ``medimg prepare`` together."""
    folder.mkdir(parents=True)
    medimg = [sys.executable, "-m", "medimg"]
    workers = ["--workers", str(processes)]
    start = time.perf_counter()
    run([*medimg, "plan", str(root), "--out", str(folder / "plan.yaml"), *workers], {})
    store = ["--config", str(folder / "plan.yaml"), "--store", str(folder / "store")]
    run([*medimg, "prepare", str(root), *store, *workers], {})
    return time.perf_counter() - start


def time_nnunet(raw: Path, folder: Path, processes: int) -> float:
    """Seconds of ``nnUNetv2_plan_and_preprocess``."""
    folders = {
        "nnUNet_raw": str(raw),
        "nnUNet_preprocessed": str(folder),
        "nnUNet_results": str(folder / "results"),
    }
    folder.mkdir(parents=True)
    command = Path(sys.executable).parent / "nnUNetv2_plan_and_preprocess"
    count = str(processes)
    start = time.perf_counter()
    run([str(command), "-d", "4", "-c", "3d_fullres", "-np", count, "-npfp", count], folders)
    return time.perf_counter() - start


def run(words: list[str], environment: dict[str, str]) -> None:
    """Run a command and show what it said only if it fails."""
    done = subprocess.run(
        words, env={**os.environ, **_THREADS, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")


def check(root: Path, place: Path) -> None:
    """Both sides prepared every case, and planned the same patch and batch."""
    settings = read_data_settings(place / "ours" / "plan.yaml")
    index = settings.index(root)
    store = PatchStore(store_folder(place / "ours" / "store", index, settings.preparation))
    stale = stale_cases(index, settings.preparation, store)
    prepared = sorted((place / "nnunet").rglob("nnUNetPlans_3d_fullres/*[0-9].b2nd"))
    if stale or len(prepared) != len(index.records):
        sys.exit(f"not all {len(index.records)} cases: ours lack {len(stale)}, nnU-Net has {len(prepared)}")
    patches = yaml.safe_load((place / "ours" / "plan.yaml").read_text())["data"]["init_args"]["patches"]
    plans = json.loads((place / "nnunet" / NAME / "nnUNetPlans.json").read_text())
    published = plans["configurations"]["3d_fullres"]
    ours, theirs = (
        [patches["size"], patches["batch_size"]],
        [published["patch_size"], published["batch_size"]],
    )
    print(f"  patch and batch: ours {ours}, nnU-Net {theirs}", flush=True)
    if ours != theirs:
        sys.exit("the two sides planned differently")


if __name__ == "__main__":
    main()
