"""Peak memory of `medimg ensemble` for 5 and for 50 members of one BraTS-sized case, as whole processes.

    uv run python benchmarks/ensemble.py

The case has 240 x 240 x 155 voxels and 4 classes. Five networks that differ a little are made up (nested ellipsoids
with soft borders, shifted from one to the next), written as `<case>.nii.gz` and `<case>.npz` (float16), and linked
under the names of 50 members: every member is read anew. Each figure is the peak resident memory of a fresh process,
start and imports included. By `mean` and by `majority`.

Prediction: `mean` holds the sum of 4 channels in float32 (136 MiB), one channel in float16 and a few volumes for
labels beside it; `majority` the number of each voxel's pattern. Neither grows with the members: ratio 1.00.
Memory is the claim. Seconds are printed to show that the time, and only the time, grows.
Measured on two cores that others used as well: `mean` 414 and 414 MiB (1.000 x), 7 and 51 s; `majority` 226 and 226 MiB
(1.000 x), 2 and 8 s.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SHAPE = (155, 240, 240)
NETWORKS = 5
MEMBERS = (5, 50)
METHODS = ("mean", "majority")
MOST = 1.1


def main() -> None:
    """Measure and print; the last line is the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make is not None:
        make(args.make)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        # In a process of its own: a child's peak starts at the size of its parent.
        subprocess.run([sys.executable, __file__, "--make", str(root / "networks")], check=True)
        members = link(root, max(MEMBERS))
        peaks = {
            method: [peak_mib(root, members[:number], method) for number in MEMBERS] for method in METHODS
        }
    for method, (few, many) in peaks.items():
        print(
            f"{method}: {few:.0f} MiB for {MEMBERS[0]} members, {many:.0f} MiB for {MEMBERS[1]}: {many / few:.3f} x"
        )
    few, many = peaks["mean"]
    print(
        f"ENSEMBLE: ours {many:.0f} MiB (50 members), ours {few:.0f} MiB (5 members), ratio {many / few:.3f}"
    )
    if any(many > MOST * few for few, many in peaks.values()):
        sys.exit("the memory grows with the members")


def make(root: Path) -> None:
    """Write the predictions of each network."""
    import numpy as np

    from medimg.io.nifti import write_image
    from medimg.io.probs import write_probs

    for network in range(NETWORKS):
        scores = np.zeros((4, *SHAPE), np.float32)  # background, edema, necrosis, enhancing
        axes = np.ogrid[tuple(slice(-size / 2, size / 2) for size in SHAPE)]
        axes = [axis - shift for axis, shift in zip(axes, (3 * network, -2 * network, network), strict=True)]
        distance = np.sqrt(sum((axis / 40) ** 2 for axis in axes)).astype(np.float32)
        for number, radius in enumerate((1.0, 0.5, 0.7), start=1):
            scores[number] = 8 * number * (radius - distance)
        scores -= scores.max(axis=0)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=0)
        folder = root / str(network)
        write_probs(folder / "case.npz", scores)
        write_image(
            folder / "case.nii.gz", np.array([0, 2, 1, 4], np.uint8)[scores.argmax(axis=0)], np.eye(4)
        )


def link(root: Path, number: int) -> list[Path]:
    """Folders of so many members, by hard links to the networks' files."""
    members = []
    for member in range(number):
        folder = root / f"member{member:02d}"
        folder.mkdir()
        for file in sorted((root / "networks" / str(member % NETWORKS)).iterdir()):
            os.link(file, folder / file.name)
        members.append(folder)
    return members


def peak_mib(root: Path, members: Sequence[Path], method: str) -> float:
    """Peak resident memory of one ensemble, in MiB."""
    out = root / f"{method}{len(members)}"
    words = ["ensemble", *map(str, members), "--out", str(out), "--method", method]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "medimg", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not (out / "case.nii.gz").is_file():
        sys.exit(f"medimg ensemble --method {method} of {len(members)} members failed")
    mib = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)  # kB there, bytes on macOS
    print(
        f"{method}, {len(members)} members: {mib:.0f} MiB, {time.perf_counter() - started:.0f} s", flush=True
    )
    return mib


if __name__ == "__main__":
    main()
