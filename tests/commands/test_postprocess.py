import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.postprocess import postprocess
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image, write_mask
from medimg.io.raster import read_raster, write_png
from medimg.postprocessing.components import keep_largest
from medimg.postprocessing.dense_crf import CrfSettings, dense_crf
from medimg.postprocessing.rules import Rule, read_rules
from medimg.postprocessing.search import Found

FACTS = {
    "classes": ["a", "b"],
    "head": "softmax",
    "labels": {"a": 1, "b": 2},
    "split": "s",
    "part": "validation",
}
SHAPE = (6, 16, 16)
SPACING = np.diag([1.0, 1.0, 2.0, 1.0])


def truth(seed):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 3:9, 3 : 9 + seed % 3], mask[2:4, 10:14, 10:14] = 1, 2
    return mask


def with_crumbs(mask, seed):
    """The truth with voxels of both labels strewn over it, away from it."""
    rng = np.random.default_rng(seed)
    crumbs = mask.copy()
    for label in (1, 2):
        places = rng.integers(0, 3, (3, 2))
        crumbs[5, places[:, 0] + 13 * (label == 1), places[:, 1]] = label
    return crumbs


def mean_dice(folder):
    """By hand: over the nine cases and both labels, none of which is empty."""
    pairs = [
        (read_mask(folder / f"c{number}.nii.gz") == label, truth(number) == label)
        for number in range(9)
        for label in (1, 2)
    ]
    return np.mean([2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in pairs])


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    for number in range(9):
        write_image(folder / f"c{number}.nii.gz", with_crumbs(truth(number), number), SPACING)
        write_image(tmp_path / "ref" / f"c{number}.nii.gz", truth(number), SPACING)
    (folder / "predictions.json").write_text(json.dumps(FACTS))
    return folder


def test_the_command_line_mends_counts_and_says_what_is_next(masks, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["postprocess", str(masks), "--out", str(out), "--keep-largest", "a,b"]
    assert main([*words, "--replace-small", "b:0:65"]) == 0
    printed = capsys.readouterr()
    # b holds 2 x 4 x 4 voxels of 2 mm3, 64 mm3.
    assert "rule 3: replace_small b:0:65" in printed.out
    assert "9 of 9 masks changed" in printed.out
    assert printed.out.splitlines()[-1] == f"next: medimg score {out} REFERENCES --labels a=1,b=2"
    for number in range(9):
        expected = truth(number)
        expected[expected == 2] = 0
        np.testing.assert_array_equal(read_mask(out / f"c{number}.nii.gz"), expected)
    facts = json.loads((out / "predictions.json").read_text())
    assert (facts["split"], facts["part"], facts["labels"]) == ("s", "validation", FACTS["labels"])
    assert facts["cases"]["c0"] == {"shape": list(SHAPE), "spacing_mm": [2.0, 1.0, 1.0]}
    assert [rule["rule"] for rule in facts["postprocess"]["rules"]] == [
        "keep_largest",
        "keep_largest",
        "replace_small",
    ]


def test_the_search_finds_what_helps_and_writes_rules_for_the_test_set(masks, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["postprocess", str(masks), "--out", str(out), "--search", "--references", str(tmp_path / "ref")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == (
        f"next: medimg postprocess TEST_PREDICTIONS --rules {out / 'rules.json'} --out FOLDER"
    )
    content = json.loads((out / "rules.json").read_text())["search"]
    assert content["mean_dice"]["before"] < 0.99
    assert content["mean_dice"]["after_in_sample"] == 1.0
    assert 0.99 < content["mean_dice"]["after_nested"] <= 1.0
    assert content["honest_gain"]["low"] > 0
    assert "mean" in printed
    assert "after, nested" in printed
    assert mean_dice(out) == pytest.approx(content["mean_dice"]["after_nested"])
    assert postprocess(masks, out=tmp_path / "again", rules=out / "rules.json") == 0
    assert mean_dice(tmp_path / "again") == content["mean_dice"]["after_in_sample"]
    assert len(read_rules(out / "rules.json")) >= 1


def test_a_mask_is_mended_by_the_rules_that_its_fold_did_not_choose(masks, tmp_path, monkeypatch, capsys):
    rule, fold, scores = Rule("keep_largest", "a", (1,)), np.arange(9) % 2, np.zeros((9, 2))
    found = Found((rule,), scores, scores, scores, ((), (rule,)), fold)
    monkeypatch.setattr("medimg.commands.postprocess_search.search_rules", lambda *args: found)
    postprocess(masks, out=tmp_path / "out", search=True, references=tmp_path / "ref")
    assert "each by the rules chosen without its fold" in capsys.readouterr().out
    postprocess(masks, out=tmp_path / "all", rules=tmp_path / "out" / "rules.json")
    read = {
        place: [(tmp_path / place / f"c{n}.nii.gz").read_bytes() for n in range(9)]
        for place in ("masks", "all", "out")
    }
    assert read["masks"] != read["all"]
    expected = [read["all" if fold[n] else "masks"][n] for n in range(9)]
    assert read["out"] == expected


def test_a_search_that_finds_nothing_changes_nothing(masks, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        postprocess(tmp_path / "ref", out=out, search=True, references=tmp_path / "ref", labels="a=1,b=2")
        == 0
    )
    assert "0 of" in capsys.readouterr().out
    assert read_rules(out / "rules.json") == ()
    assert (out / "c0.nii.gz").read_bytes() == (tmp_path / "ref" / "c0.nii.gz").read_bytes()


def test_patients_are_those_of_the_table(masks, tmp_path):
    rows = ["case_id,patient_id,dice_a", *(f"c{number},p{number % 2},0.5" for number in range(9))]
    (masks / "per_case.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="three patients or more, found 2"):
        postprocess(masks, out=tmp_path / "out", search=True, references=tmp_path / "ref")
    assert not (tmp_path / "out").exists()


def test_a_search_on_a_test_set_is_refused(masks, tmp_path):
    for facts, said in (
        ({"part": "test"}, "these are test cases"),
        ({"part": "predict", "in_split": 9}, "9 cases that train or validate"),
    ):
        (masks / "predictions.json").write_text(json.dumps({**FACTS, **facts}))
        with pytest.raises(DataError, match=rf"{said}.*Rules chosen on them.*search on out-of-fold.*--rules"):
            postprocess(masks, out=tmp_path / "out", search=True, references=tmp_path / "ref")
    (masks / "predictions.json").unlink()
    with pytest.raises(DataError, match="its name says that these are test cases"):
        postprocess(
            masks.rename(tmp_path / "test"), out=tmp_path / "out", search=True, references=tmp_path / "ref",
            labels="a=1",
        )  # fmt: skip


def test_pictures_are_mended_too(tmp_path, capsys):
    picture = truth(0)[2] * 100
    picture[0, 0] = 100
    write_png(tmp_path / "in" / "x.png", picture)
    assert postprocess(tmp_path / "in", out=tmp_path / "out", keep_largest="mass", labels="mass=100") == 0
    assert read_raster(tmp_path / "out" / "x.png")[0, 0, 0] == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("--labels mass=100")


def test_cases_that_are_empty_now_are_counted(tmp_path, capsys):
    write_png(tmp_path / "in" / "x.png", truth(0)[2])
    assert postprocess(tmp_path / "in", out=tmp_path / "out", min_volume="1+2=1e6") == 0
    assert "warning: 1 of 1 masks are empty now: x" in capsys.readouterr().err


def test_regions_name_what_rules_are_about(masks, tmp_path):
    (masks / "predictions.json").unlink()
    postprocess(masks, out=tmp_path / "out", keep_largest="WT", regions="brats2023")
    whole = keep_largest(read_mask(masks / "c1.nii.gz"), [1, 2, 3])
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "c1.nii.gz"), whole)


def make_probs(folder, *, regions=False):
    rng = np.random.default_rng(0)
    onehot = np.stack([truth(0) == label for label in range(3)]).astype(float)
    probs = onehot[1:] + onehot[2] if regions else onehot
    probs = np.clip(0.2 + 0.5 * probs + 0.35 * rng.standard_normal(probs.shape), 0.01, 0.99)
    if not regions:
        probs /= probs.sum(0)
    np.savez(folder / "c0.npz", probs=probs.astype(np.float16))
    labels = probs.argmax(0) if not regions else (probs[0] > 0.5) + (probs[1] > 0.5)
    write_image(folder / "c0.nii.gz", labels.astype(np.uint8), SPACING)
    image = (2 * truth(0) + 3 + 0.3 * rng.standard_normal(SHAPE)).astype(np.float32)
    write_image(folder / "images" / "c0_0000.nii.gz", image, SPACING)
    head = "sigmoid" if regions else "softmax"
    (folder / "predictions.json").write_text(json.dumps({**FACTS, "head": head}))
    return probs.astype(np.float16), image


def test_the_crf_of_the_command_line_is_that_of_the_function(tmp_path):
    probs, image = make_probs(tmp_path)
    words = ["postprocess", str(tmp_path), "--crf", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    words += ["--crf-sigma-mm", "4", "--crf-sigma-value", "0.4", "--crf-iterations", "3", "--probabilities"]
    assert main([*words, "--keep_largest", "a,b"]) == 0
    settings = CrfSettings(sigma_mm=4.0, sigma_value=0.4, iterations=3)
    expected = dense_crf(
        probs.astype(np.float32), image[None] / image.std(), spacing_mm=(2.0, 1.0, 1.0), settings=settings
    )
    labels = keep_largest(keep_largest(expected.argmax(0), [1]), [2])
    found = read_mask(tmp_path / "out" / "c0.nii.gz")
    assert (found != labels).mean() < 1e-3
    assert (found != truth(0)).mean() < 0.25 * (probs.argmax(0) != truth(0)).mean()
    np.testing.assert_allclose(np.load(tmp_path / "out" / "c0.npz")["probs"], expected, atol=2e-3)
    facts = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert facts["postprocess"]["crf"]["sigma_value"] == 0.4


def test_regions_are_refined_each_by_itself_and_nest(tmp_path):
    probs, _ = make_probs(tmp_path, regions=True)
    postprocess(tmp_path, out=tmp_path / "nested", nest="a,b")
    outer, inner = probs > 0.5
    expected = np.where(outer & inner, 2, outer.astype(int))
    np.testing.assert_array_equal(read_mask(tmp_path / "nested" / "c0.nii.gz"), expected)
    assert (inner & ~outer).any()
    postprocess(tmp_path, out=tmp_path / "crf", crf=tmp_path / "images", crf_sigma_mm=4.0)
    found = read_mask(tmp_path / "crf" / "c0.nii.gz")
    assert (found != truth(0)).sum() < 0.3 * (read_mask(tmp_path / "c0.nii.gz") != truth(0)).sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to do"),
        ({"keep_largest": "liver"}, "--keep_largest liver: there is no class 'liver'; known are a, b"),
        ({"search": True}, "--search and --references DIR belong together"),
        ({"keep_largest": "a", "references": Path()}, "--search and --references DIR belong together"),
        ({"keep_largest": "a", "rules": Path("r")}, "--keep_largest and --rules: rules come from one place"),
        ({"keep_largest": "a", "search": True}, "--keep_largest and --search: rules come from one place"),
        ({"rules": Path("r"), "search": True}, "--rules and --search"),
        ({"search": True, "references": Path(), "crf": Path()}, "write those of --crf or --nest first"),
        ({"keep_largest": "a", "probabilities": True}, "--probabilities: rules change masks only"),
        ({"crf": Path(), "crf_sigma_mm": 0.0}, "--crf_...: sigmas above 0"),
        ({"nest": "a,b"}, "--nest a,b: expected two or more of the regions .*found head softmax"),
        ({"keep_largest": "WT", "regions": "brats2032"}, "--regions brats2032: .*Did you mean brats2023"),
        ({"keep_largest": "a", "labels": "a"}, "cannot read 'a'"),
    ],
)
def test_options_that_do_not_fit_are_refused(masks, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        postprocess(masks, out=tmp_path / "out", **options)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_a_failing_case_is_named_and_nothing_is_left(masks, tmp_path):
    (masks / "c4.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match="1 of 9 cases failed:\n  c4: "):
        postprocess(masks, out=tmp_path / "out", keep_largest="a")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_an_output_is_replaced_only_when_told(masks, tmp_path):
    out = tmp_path / "out"
    postprocess(masks, out=out, keep_largest="a")
    with pytest.raises(ConfigError, match="Give another --out, or --overwrite"):
        postprocess(masks, out=out, keep_largest="b")
    (masks / "c8.nii.gz").unlink()
    postprocess(masks, out=out, keep_largest="b", overwrite=True)
    assert not (out / "c8.nii.gz").exists()
    with pytest.raises(ConfigError, match="is a folder that is read"):
        postprocess(masks, out=masks, keep_largest="b", overwrite=True)


def test_the_head_sigmoid_needs_what_regions_consist_of(masks, tmp_path):
    (masks / "predictions.json").write_text(json.dumps({**FACTS, "head": "sigmoid"}))
    with pytest.raises(ConfigError, match="--search: say what to score"):
        postprocess(masks, out=tmp_path / "out", search=True, references=tmp_path / "ref")
    with pytest.raises(ConfigError, match="no class has a name"):
        postprocess(masks, out=tmp_path / "out", keep_largest="a")


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(masks, tmp_path):
    for workers in (1, 2):
        postprocess(masks, out=tmp_path / str(workers), keep_largest="a,b", workers=workers)
    for name in ("c0.nii.gz", "c5.nii.gz", "predictions.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.real
@pytest.mark.slow
def test_the_search_on_hippocampi(tmp_path):
    """Forty real references with crumbs strewn in: the search takes them away again."""
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "Task04_Hippocampus" / "labelsTr"
    rng = np.random.default_rng(0)
    for path in sorted(root.glob("hippocampus_*.nii.gz"))[:40]:
        (tmp_path / "ref").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "ref" / path.name)
        mask = read_mask(path)
        places = rng.random(mask.shape) < 0.001
        mask[places & (mask == 0)] = rng.integers(1, 3)
        write_mask(tmp_path / "masks" / path.name, mask, like=path)
    start = time.monotonic()
    postprocess(
        tmp_path / "masks",
        out=tmp_path / "out",
        search=True,
        references=tmp_path / "ref",
        labels="anterior=1,posterior=2",
    )
    assert time.monotonic() - start < 120
    found = json.loads((tmp_path / "out" / "rules.json").read_text())["search"]
    assert found["honest_gain"]["low"] > 0
    assert found["mean_dice"]["after_nested"] > 0.99


def test_a_rule_file_names_its_own_labels(masks, tmp_path):
    path = tmp_path / "rules.json"
    path.write_text(
        json.dumps({"rules": [{"rule": "keep_largest", "name": "b", "values": [2], "connectivity": 6}]})
    )
    assert read_rules(path) == (Rule("keep_largest", "b", (2,), connectivity=6),)
    postprocess(masks, out=tmp_path / "out", rules=path)
    found = read_mask(tmp_path / "out" / "c2.nii.gz")
    np.testing.assert_array_equal(found == 2, truth(2) == 2)
    np.testing.assert_array_equal(found == 1, read_mask(masks / "c2.nii.gz") == 1)
