"""From tissues to the four scans: contrast, bias field, partial volume and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.phantoms.anatomy import Anatomy
from medimg.phantoms.fields import Field, Frame, fraction, smooth_noise
from medimg.phantoms.tumours import Tumour

MODALITIES = ("t1n", "t1c", "t2w", "t2f")
NCR, ED, ET = 1, 2, 3

# Signal of each tissue in MODALITIES' order, white matter in t1n being 1. Chosen so that no scan alone tells
# the classes apart: vessels and meninges are as bright as ET in t1c, fluid as bright as necrosis in t2w, old
# white matter and oedema as bright as ET in t2f. Together they do: t2f parts ET from vessels, necrosis from
# fluid, t1c parts ET and necrosis from oedema.
_SIGNAL = {
    "white": (1.00, 1.00, 0.45, 0.55),
    "grey": (0.74, 0.76, 0.68, 0.74),
    "nuclei": (0.84, 0.86, 0.56, 0.66),
    "fluid": (0.28, 0.30, 1.55, 0.15),
    "spots": (0.84, 0.86, 0.95, 1.20),
    "meninges": (0.55, 1.45, 0.80, 0.45),
    "choroid": (0.60, 1.55, 1.20, 0.55),
    "vessels": (0.55, 1.60, 0.30, 0.40),
    "oedema": (0.70, 0.70, 1.10, 1.24),
    "enhancing": (0.66, 1.45, 1.00, 1.20),
    "necrosis": (0.42, 0.42, 1.35, 0.62),
}
# How much tissue varies from patch to patch, as a standard deviation of the signal, so that the classes
# overlap in every single scan; ET in t1c reaches from just above white matter to a vessel's brightness.
_MOTTLE = {
    "oedema": (0.05, 0.04, 0.12, 0.13),
    "enhancing": (0.05, 0.22, 0.10, 0.13),
    "necrosis": (0.05, 0.08, 0.17, 0.10),
    "meninges": (0.05, 0.20, 0.10, 0.05),
}
_NOISE = 0.04
_BIAS = 0.10
_TEXTURE = 0.03


@dataclass(frozen=True)
class Voxels:
    """Fields at the voxels inside the brain, each of shape (V,), in millimetres or noise units."""

    inside: NDArray[np.bool_]  # the brain in the frame's box
    values: dict[str, Field]

    def __getitem__(self, name: str) -> Field:
        return self.values[name]


def sample_voxels(
    rng: np.random.Generator, frame: Frame, anatomy: Anatomy, tumour: Tumour, vessels: Field
) -> Voxels:
    """Bring all fields from the lattice to the voxels of the brain, and draw the patchy ones."""
    inside = frame.sample(anatomy.hull) < 0
    fields = {
        "hull": anatomy.hull, "pial": anatomy.pial, "cortex": anatomy.cortex_mm,
        "ventricles": anatomy.ventricles, "nuclei": anatomy.nuclei,
        "choroid": anatomy.choroid, "fissure": anatomy.fissure,
        "whole": tumour.whole, "core": tumour.core, "necrosis": tumour.necrosis,
        "patches": smooth_noise(rng, 9.0), "spots": smooth_noise(rng, 3.5),
    }  # fmt: skip
    values = {name: frame.sample(field)[inside] for name, field in fields.items()}
    return Voxels(inside, values | {"vessels": vessels[inside]})


def label(voxels: Voxels) -> NDArray[np.uint8]:
    """Truth at the brain's voxels, shape (V,): 0 healthy, 1 NCR, 2 ED, 3 ET."""
    classes = np.zeros(voxels["hull"].shape, np.uint8)
    # Fluid holds no oedema; the core has pushed it away.
    classes[(voxels["whole"] < 0) & (voxels["ventricles"] > 0)] = ED
    classes[voxels["core"] < 0] = ET
    classes[(voxels["core"] < 0) & (voxels["necrosis"] < 0)] = NCR
    return classes


def tissue_fractions(voxels: Voxels, voxel_mm: float) -> dict[str, Field]:
    """Part of every voxel that each tissue fills, shape (V,) each; they add up to one.

    A tissue later in the list lies on top of those before it.
    """
    width = max(voxel_mm, 0.8)
    patches = voxels["patches"]
    # Meninges take up contrast in patches: at the surface, and in the falx between the hemispheres.
    shell = np.maximum(-voxels["hull"] - np.float32(2.8), np.float32(-1.2) - 2 * patches)
    falx = np.maximum(voxels["fissure"] - np.float32(0.4), np.float32(-1.5) - 2 * patches)
    # Spots of old white matter: caps on the ventricles, and freckles deep under the cortex.
    caps = np.maximum(np.abs(voxels["ventricles"] - 2) - 2, 3 * (np.float32(0.4) - patches))
    freckles = np.maximum(3 * (np.float32(2.1) - voxels["spots"]), 9 - voxels["pial"])
    layers = {
        "grey": voxels["pial"] - voxels["cortex"],
        "fluid": voxels["pial"],
        "nuclei": voxels["nuclei"],
        "spots": np.minimum(caps, freckles),
        "ventricles": voxels["ventricles"],
        "choroid": voxels["choroid"],
        "meninges": np.minimum(shell, falx),
        "oedema": np.maximum(voxels["whole"], -voxels["ventricles"]),
        "vessels": voxels["vessels"],
        "enhancing": voxels["core"],
        "necrosis": np.maximum(voxels["necrosis"], voxels["core"]),
    }
    parts: dict[str, Field] = {"white": np.ones_like(voxels["hull"])}
    for name, distance in layers.items():
        share = fraction(distance, width)
        for below in parts.values():
            below *= 1 - share
        parts[name] = share
    parts["fluid"] += parts.pop("ventricles")
    return parts


def render(
    rng: np.random.Generator, frame: Frame, voxels: Voxels, parts: dict[str, Field], modality: int
) -> NDArray[np.int16]:
    """One scan at the brain's voxels.

    Args:
        rng: Source of bias field, gain, texture and noise.
        frame: The volume.
        voxels: Fields at the brain's voxels.
        parts: What ``tissue_fractions`` gave.
        modality: Position in ``MODALITIES``.

    Returns:
        Intensities of shape (V,), at least 1, so that 0 means outside the brain.
    """
    scan = np.zeros_like(voxels["hull"])
    mottle = frame.sample(smooth_noise(rng, 4.0))[voxels.inside]
    for name, part in parts.items():
        signal = np.float32(_SIGNAL[name][modality] * (1 + 0.02 * rng.standard_normal()))
        scan += part * signal
        if name in _MOTTLE:
            scan += part * np.float32(_MOTTLE[name][modality]) * np.clip(mottle, -1.8, 1.8)
    texture = frame.sample(smooth_noise(rng, 2.5))[voxels.inside]
    bias = frame.sample(smooth_noise(rng, 40.0))[voxels.inside]
    scan *= (1 + np.float32(_TEXTURE) * texture) * (1 + np.float32(_BIAS) * np.clip(bias, -2, 2))
    # The magnitude of a complex signal: Rician noise.
    real = scan + np.float32(_NOISE) * rng.standard_normal(scan.shape, dtype=np.float32)
    imaginary = np.float32(_NOISE) * rng.standard_normal(scan.shape, dtype=np.float32)
    gain = np.float32(rng.uniform(250, 900))
    magnitude: NDArray[np.float32] = np.rint(gain * np.sqrt(real * real + imaginary * imaginary))
    return np.maximum(magnitude, 1).astype(np.int16)
