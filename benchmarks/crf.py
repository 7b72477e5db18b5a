"""Seconds of a dense CRF on one core, beside pydensecrf2 1.1.

Both sides get the same probabilities, image and kernels, and make the marginals of 5 rounds of mean field from
them: a smoothness and an appearance kernel, symmetric normalisation, Potts compatibility. The images are noise
over smooth regions. Time is the processor's, of one whole call, features included, since a case is refined once.
Calls alternate, one thread each, and the fastest of each side counts. Compiling is timed apart: numba does it once
a machine, and keeps the result on disk.

Run: ``uv run python benchmarks/crf.py``

Predicted from what has to be read and written: the same lattice on both sides, so a ratio near 1. Ours filters
K - 1 of K labels, looks vertices up by one number instead of by d, and finds one of two neighbours from the other;
theirs has vector instructions by hand.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

# Before any of them starts its threads.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray
from pydensecrf import densecrf
from scipy.ndimage import gaussian_filter

from medimg.postprocessing.dense_crf import SMALLEST_PROB, CrfSettings, dense_crf

FloatArray = NDArray[np.float32]
FIRST_CALL = """
import time
import numpy as np
from medimg.postprocessing.dense_crf import dense_crf
start = time.process_time()
dense_crf(np.full((2, 8, 8), 0.5, np.float32), np.zeros((1, 8, 8), np.float32))
print(time.process_time() - start)
"""


@dataclass(frozen=True)
class Case:
    """A kind of image, and how many labels it has."""

    name: str
    shape: tuple[int, ...]
    channels: int
    labels: int


CASES = (
    Case("512 x 512, 1 channel, 2 labels", (512, 512), 1, 2),
    Case("512 x 512, 1 channel, 5 labels", (512, 512), 1, 5),
    Case("96 x 96 x 96, 4 channels, 4 labels", (96, 96, 96), 4, 4),
)
# The wider the kernels, the fewer the vertices; the defaults make about as many as there are voxels.
SETTINGS = {"wide": CrfSettings(3.0, 3.0, 10.0, 20.0, 0.5), "defaults": CrfSettings()}


def make_case(case: Case) -> tuple[FloatArray, FloatArray]:
    """Probabilities (K, ...) and image (C, ...)."""
    rng = np.random.default_rng(0)
    fields = np.stack([gaussian_filter(rng.standard_normal(case.shape), 6) for _ in range(case.labels)])
    truth = fields.argmax(0)
    channels = [rng.permutation(case.labels)[truth] for _ in range(case.channels)]
    image = np.stack([one + 0.3 * rng.standard_normal(case.shape) for one in channels])
    logits = [4 * gaussian_filter((truth == label) * 1.0, 2) for label in range(case.labels)]
    shares = np.exp(np.stack(logits) + 0.7 * rng.standard_normal((case.labels, *case.shape)))
    return (shares / shares.sum(0)).astype(np.float32), image.astype(np.float32)


def of_pydensecrf(probs: FloatArray, image: FloatArray, settings: CrfSettings) -> FloatArray:
    """Marginals by pydensecrf2 with its default normalisation and kernel."""
    shape = probs.shape[1:]
    places = np.indices(shape, np.float32).reshape(len(shape), -1)
    values = image.reshape(len(image), -1) / np.float32(settings.sigma_value)
    crf = densecrf.DenseCRF(int(np.prod(shape)), len(probs))
    energy = -np.log(np.clip(probs, SMALLEST_PROB, 1)).reshape(len(probs), -1)
    crf.setUnaryEnergy(np.ascontiguousarray(energy))
    crf.addPairwiseEnergy(places / np.float32(settings.smooth_sigma_mm), compat=settings.smooth_weight)
    alike = np.vstack([places / np.float32(settings.sigma_mm), values])
    crf.addPairwiseEnergy(np.ascontiguousarray(alike), compat=settings.weight)
    return np.array(crf.inference(settings.iterations)).reshape(probs.shape)


def timed(function: Callable[[], FloatArray]) -> tuple[float, FloatArray]:
    """Seconds of a call, and what it gave."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def both(
    probs: FloatArray, image: FloatArray, settings: CrfSettings, repeats: int
) -> tuple[list[tuple[float, FloatArray]], list[tuple[float, FloatArray]]]:
    """Calls of either side in turn, once the compiled code is loaded."""
    dense_crf(probs[..., :8], image[..., :8], settings=settings)
    mine, other = [], []
    for _ in range(repeats):
        mine.append(timed(lambda: dense_crf(probs, image, settings=settings)))
        other.append(timed(lambda: of_pydensecrf(probs, image, settings)))
    return mine, other


def first_calls() -> tuple[float, float]:
    """Seconds of the first call of a process: without compiled code on disk, and with it."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", FIRST_CALL]
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        found = [
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        ]
    return found[0], found[1]


def main() -> None:
    """Print a line a case, and the sum of both sides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="calls a side and case")
    repeats = parser.parse_args().repeats
    cold, warm = first_calls()
    print(f"first call of a process: {cold:.1f} s to compile, {warm:.2f} s with the compiled code on disk")
    ours, theirs = 0.0, 0.0
    for case, (kind, settings) in product(CASES, SETTINGS.items()):
        probs, image = make_case(case)
        mine, other = both(probs, image, settings, repeats)
        one, two = min(seconds for seconds, _ in mine), min(seconds for seconds, _ in other)
        differ = 100 * (mine[0][1].argmax(0) != other[0][1].argmax(0)).mean()
        print(
            f"{case.name}, {kind}: ours {one:.2f} s, pydensecrf2 {two:.2f} s, ratio {one / two:.2f}, ", end=""
        )
        print(f"{differ:.4f} % of labels differ")
        ours, theirs = ours + one, theirs + two
    print(f"CRF: ours {ours:.2f} s, pydensecrf2 {theirs:.2f} s, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
