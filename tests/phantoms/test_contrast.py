import numpy as np
import pytest

from medimg.phantoms.anatomy import build_anatomy
from medimg.phantoms.contrast import (
    ED,
    ET,
    MODALITIES,
    NCR,
    label,
    render,
    sample_voxels,
    tissue_fractions,
)
from medimg.phantoms.fields import Frame
from medimg.phantoms.tumours import Kind, grow, place_lesions
from medimg.phantoms.vessels import draw_vessels


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    lesions = place_lesions(rng, Kind.RIM)
    anatomy = build_anatomy(rng, tuple(lesion.bulge for lesion in lesions))
    frame = Frame.fit((72, 80, 80), (1.0, 1.0, 1.0))
    voxels = sample_voxels(rng, frame, anatomy, grow(rng, lesions), draw_vessels(rng, anatomy.hull, frame))
    parts = tissue_fractions(voxels, frame.voxel_mm)
    scans = {
        name: render(np.random.default_rng([1, number]), frame, voxels, parts, number)
        for number, name in enumerate(MODALITIES)
    }
    return voxels, parts, scans


def _median(scans, modality, where):
    return float(np.median(scans[modality][where]))


def test_fractions_add_up_to_one(scene):
    _, parts, _ = scene
    np.testing.assert_allclose(sum(parts.values()), 1, atol=1e-5)
    assert min(part.min() for part in parts.values()) >= 0


def test_labels_name_what_fills_most_of_the_voxel(scene):
    voxels, parts, _ = scene
    classes = label(voxels)
    for value, name in ((NCR, "necrosis"), (ET, "enhancing"), (ED, "oedema")):
        pure = parts[name] > 0.6
        assert pure.sum() > 50
        assert (classes[pure] == value).mean() > 0.99
    assert not (classes[parts["white"] > 0.6] > 0).any()


def test_oedema_spares_the_ventricles(scene):
    voxels, _, _ = scene
    assert not (label(voxels)[(voxels["ventricles"] < 0) & (voxels["core"] >= 0)] > 0).any()


def test_scans_have_the_contrasts_of_their_names(scene):
    _, parts, scans = scene
    pure = {name: part > 0.95 for name, part in parts.items()}
    tissue = {m: {t: _median(scans, m, pure[t]) for t in ("white", "grey", "fluid")} for m in MODALITIES}
    for name in ("t1n", "t1c"):
        assert tissue[name]["white"] > tissue[name]["grey"] > tissue[name]["fluid"]
    assert tissue["t2w"]["fluid"] > tissue["t2w"]["grey"] > tissue["t2w"]["white"]
    assert tissue["t2f"]["grey"] > tissue["t2f"]["white"] > tissue["t2f"]["fluid"]


def test_tumour_parts_differ_as_radiologists_know_them(scene):
    _, parts, scans = scene
    pure = {name: part > 0.95 for name, part in parts.items()}
    bright = {
        m: {t: _median(scans, m, where) for t, where in pure.items() if where.any()} for m in MODALITIES
    }
    assert bright["t1c"]["enhancing"] > 1.2 * bright["t1c"]["white"]
    assert bright["t1n"]["enhancing"] < bright["t1n"]["white"]  # it is the contrast agent that shines
    assert bright["t1c"]["necrosis"] < bright["t1c"]["oedema"] < bright["t1c"]["enhancing"]
    assert bright["t2f"]["oedema"] > 1.5 * bright["t2f"]["grey"]
    assert bright["t2f"]["fluid"] < bright["t2f"]["necrosis"] < bright["t2f"]["oedema"]
    # What enhances without being tumour stays dark in FLAIR.
    assert bright["t1c"]["vessels"] > bright["t1c"]["enhancing"] * 0.9
    assert bright["t2f"]["vessels"] < 0.6 * bright["t2f"]["enhancing"]


def test_noise_has_its_strength_and_bias_varies_slowly(scene):
    _, parts, scans = scene
    white = parts["white"] > 0.99
    values = scans["t1n"][white].astype(float)
    assert 0.05 < values.std() / values.mean() < 0.25
    assert scans["t1n"].min() >= 1  # 0 is kept for what is outside the brain
    assert scans["t1n"].dtype == np.int16
