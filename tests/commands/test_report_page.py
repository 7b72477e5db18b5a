"""The page of ``medimg report`` as a browser shows it: wide and narrow, light and dark, by keyboard and by ear."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import yaml
from PIL import Image
from writers.browser import browser, find_chromium
from writers.nnunet import write_nnunet

from medimg.commands.report import report
from medimg.io.nifti import read_grid, read_mask, write_image
from medimg.scoring.label_table import label_row, write_label_table
from medimg.scoring.table import write_per_case

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="there is no chromium on the PATH"),
]
PAGES = ("images", "labels", "volumes", "folds", "all")
WIDTHS = (1280, 400)
LONG = [
    f"{place}-{what}" for place in ("left", "right") for what in ("pneumothorax", "consolidation", "a&b<c>")
]


# ---- runs of every kind, with words as long and files as many as a report may meet -----------------


def write_history(run, seed, epochs=6):
    with (run / "metrics.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["epoch", "step", "train/loss_epoch", "val/loss", "val/auroc", "val/dice"])
        for epoch in range(epochs):
            noise = np.random.default_rng([seed, epoch]).normal(0, 0.02)
            table.writerow([epoch, 10 * epoch, 0.9**epoch + noise, 0.92**epoch, 0.6 + 0.05 * epoch, 0.5])
    record = {"seconds": 90.0, "joules": None, "steps": 60, "device": "CPU", "threads": 2, "python": "3.11.9"}
    (run / "record.json").write_text(json.dumps(record | {"packages": {"torch": "2.9.1+cpu" + 40 * "x"}}))


def write_labels(folder, labels, cases, seed, task="binary", **facts):
    rng = np.random.default_rng(seed)
    rows = []
    for number, case in enumerate(cases):
        target = [(number >> column) % 2 for column in range(len(labels))]
        probs = np.clip(0.3 + 0.4 * np.array(target) + rng.normal(0, 0.2, len(labels)), 0.01, 0.99)
        rows.append(label_row(case, f"patient {number // 2}", labels, probs.tolist(), target))
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps({"task": task, "split": "0123456789ab", **facts}))


def config_of(root, dataset=None):
    network = {"class_path": "medimg.models.TimmClassifier", "init_args": {"architecture": "resnet18"}}
    module = "medimg.datamodules.ImageDataModule" if dataset else "medimg.datamodules.NNUNetDataModule"
    data = {"root": str(root)} | ({"dataset": dataset} if dataset else {})
    model = {"task": "binary", "classes": ["malignant"], "network": network}
    return yaml.safe_dump(
        {
            "seed_everything": 0,
            "model": {"class_path": "medimg.tasks.ClassificationTask", "init_args": model},
            "data": {"class_path": module, "init_args": data},
        }
    )


def write_images_run(place):
    """Images with their pictures, heat maps beside them."""
    names = [f"{kind}/{kind} ({n}).png" for kind in ("benign", "malignant") for n in range(1, 17)]
    for number, name in enumerate(names):
        (place / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (6, 9), np.uint8).repeat(20, 0).repeat(20, 1)
        Image.fromarray(pixels).save(place / "data" / name)
    run = place / "breast-ultrasound" / "version_0"
    rows = [
        label_row(name, name, ["malignant"], [0.2 + 0.019 * n], [name[0] == "m"])
        for n, name in enumerate(names)
    ]
    write_label_table(run / "test" / "per_case.csv", rows)
    (run / "test" / "predictions.json").write_text(json.dumps({"task": "binary", "split": "s"}))
    dataset = {"class_path": "medimg.datasets.ImageFolder", "init_args": {"positive": ["malignant"]}}
    (run / "config.yaml").write_text(config_of(place / "data", dataset))
    write_history(run, 0)
    heat = place / "heat"
    heat.mkdir()
    Image.fromarray(np.full((300, 1000, 3), 90, np.uint8)).save(heat / "a.png")
    (heat / "table.csv").write_text(f"case_id,label,method,picture\n{names[3]},malignant,gradcam,a.png\n")
    return run


def write_labels_run(place):
    """Many labels with long names, and no config."""
    run = place / ("a-name-that-nobody-would-break-" * 3) / "version_0"
    write_labels(run / "test", LONG, [f"c{n}" for n in range(80)], 1, "multilabel")
    (run / "config.yaml").write_text("{}\n")
    write_history(run, 1, epochs=40)
    return run


def write_volumes_run(place):
    """Volumes with reference and prediction."""
    root = write_nnunet(place / "volumes", cases=5, shape=(18, 40, 48))
    run = place / "liver" / "version_0"
    rng = np.random.default_rng(0)
    rows = []
    for path in sorted((root / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        mask = np.roll(read_mask(path), 2, axis=2)
        write_image(run / "test" / "masks" / path.name, mask, read_grid(path).affine)
        scores = {
            f"{metric}_{name}": float(rng.random())
            for metric in ("dice", "hd95")
            for name in ("liver", "tumour")
        }
        rows.append({"case_id": case, "patient_id": case, **scores})
    write_per_case(run / "test" / "per_case.csv", rows)
    (run / "config.yaml").write_text(config_of(root))
    write_history(run, 2)
    return run


def write_folds(place):
    """A cross-validation."""
    folder = place / "folds"
    write_labels(folder / "out_of_fold", ["mass"], [f"c{n}" for n in range(60)], 3)
    with (folder / "crossval.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["fold", "auroc"], *([str(fold), f"0.8{fold}"] for fold in range(3)), ["mean", 0.81]]
        )
    for fold in range(3):
        run = folder / f"fold_{fold}" / "version_0"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(config_of("/data/none"))
        write_history(run, fold)
    (folder / "crossval.yaml").write_text(config_of("/data/none"))
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of each kind of run, and one of all."""
    place = tmp_path_factory.mktemp("runs")
    runs = {
        "images": write_images_run(place),
        "labels": write_labels_run(place),
        "volumes": write_volumes_run(place),
        "folds": write_folds(place),
    }
    (place / "readers.csv").write_text("label,measure,value,low,high\nmass,alpha,0.61234,0.5,0.7\n")
    made = {name: place / f"{name}.html" for name in PAGES}
    for name, run in runs.items():
        images = {"explain": place / "heat", "agreement": place / "readers.csv"} if name == "images" else {}
        report([run], out=made[name], resamples=30, **images)
    report(list(runs.values()), out=made["all"], resamples=30)
    return made


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(find_chromium(), tmp_path_factory.mktemp("profile")) as opened:
        yield opened


# ---- what is looked for, in the page's own terms ---------------------------------------------------

PROBE = """
(() => {
  const all = [...document.querySelectorAll('body, body *')].filter(e => !e.matches('.skip'));
  const name = e => `${e.tagName}.${e.getAttribute('class') ?? ''} ${e.textContent.trim().slice(0, 50)}`;
  const boxes = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  const boxed = e => { for (let p = e.parentElement; p; p = p.parentElement) if (boxes(p)) return true; };
  const seen = e => e.checkVisibility();
  const colour = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, under) => under.map((c, i) => top[i] * top[3] + c * (1 - top[3]));
  const ground = e => {
    const layers = [];
    for (; e; e = e.parentElement) layers.unshift(colour(getComputedStyle(e).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = e => {
    const style = getComputedStyle(e), under = ground(e);
    const ink = over(colour(e.ownerSVGElement ? style.fill : style.color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const words = all.filter(e => seen(e) && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  return {
    width: innerWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    wide: document.scrollingElement.scrollWidth,
    beyond: all.filter(e => seen(e) && !boxed(e) && (e.getBoundingClientRect().right > innerWidth + 1
      || e.getBoundingClientRect().left < -1)).map(name),
    unreachable: all.filter(e => boxes(e) && e.tabIndex < 0).map(name),
    scrolling: all.filter(e => boxes(e) && e.scrollWidth > e.clientWidth + 1).length,
    headings: [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(e => Number(e.tagName[1])),
    images: [...document.images].map(e => [e.alt, e.complete && e.naturalWidth > 0]),
    nameless: [...document.querySelectorAll('a, summary, [tabindex]')]
      .filter(e => !(e.getAttribute('aria-label') ?? e.textContent).trim()).map(name),
    faint: words.filter(e => contrast(e) < 4.5).map(e => `${contrast(e).toFixed(2)} ${name(e)}`),
    words: words.length,
    small: words.filter(e => e.ownerSVGElement).map(e => Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b)
      * parseFloat(getComputedStyle(e).fontSize)).reduce((a, b) => Math.min(a, b), 99),
  };
})()
"""
FOCUS = """
(() => {
  const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
  return {
    at: [...document.querySelectorAll('*')].indexOf(e),
    outline: style.outlineStyle !== 'none' ? parseFloat(style.outlineWidth) : 0,
    shown: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    kind: e.tagName, text: e.textContent.trim().slice(0, 40), inside: !!e.closest('main'),
  };
})()
"""
STOPS = """
[...document.querySelectorAll('a, summary, [tabindex="0"]')].filter(e => e.checkVisibility())
  .map(e => [...document.querySelectorAll('*')].indexOf(e))
"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read(name, width, pages, tab, tmp_path):
    for dark in (False, True):
        tab.open(pages[name], width=width, dark=dark)
        found = tab.run(PROBE)
        assert found["width"] == width and found["dark"] is dark
        assert not tab.errors
        assert {address for address in tab.asked if not address.startswith("data:")} == {pages[name].as_uri()}
        assert found["wide"] == width and not found["beyond"]
        assert not found["unreachable"] and not found["nameless"]
        assert found["words"] > 100 and not found["faint"]
        assert found["small"] >= 7
        assert all(alt and drawn for alt, drawn in found["images"])
        assert found["headings"].count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise([0, *found["headings"]]))
    assert len(found["images"]) == {"images": 13, "volumes": 3, "all": 15}.get(name, 0)
    # Wide tables scroll in their own boxes, or the test of the page's width would say nothing.
    assert found["scrolling"] > 0 or width > 400


@pytest.mark.parametrize("name", PAGES)
def test_a_screen_reader_is_told_the_parts_of_the_page(name, pages, tab):
    tab.open(pages[name], width=1280)
    roles = tab.roles()
    kinds = [role for role, _ in roles]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert kinds.count(landmark) == 1, landmark
    named = ("navigation", "image", "figure", "region", "table", "link", "heading")
    assert not [role for role, told in roles if role in named and role != "figure" and not told.strip()]
    plots = [told for role, told in roles if role == "figure" and told.strip()]
    assert any("epoch" in told for told in plots)
    if name != "volumes":
        assert any(told.startswith("ROC curve of") for told in plots)
    assert "columnheader" in kinds and "rowheader" in kinds


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["images", "all"])
def test_everything_can_be_reached_and_used_with_the_tab_key(name, width, pages, tab):
    tab.open(pages[name], width=width)
    stops = tab.run(STOPS)
    seen = []
    for _ in stops:
        tab.press("Tab")
        focus = tab.run(FOCUS)
        assert focus["outline"] >= 2 and focus["shown"], focus
        seen.append(focus["at"])
    assert seen == stops and len(stops) > 10


def test_the_first_key_skips_to_the_results_and_what_is_folded_opens(pages, tab):
    tab.open(pages["images"], width=400)
    tab.press("Tab")
    assert tab.run(FOCUS)["text"] == "Skip to the results"
    tab.press("Enter")
    assert tab.run("location.hash") == "#content"
    tab.press("Tab")
    assert tab.run(FOCUS)["inside"]
    while tab.run(FOCUS)["kind"] != "SUMMARY":
        tab.press("Tab")
    assert tab.run("document.querySelectorAll('details[open]').length") == 0
    tab.press("Enter")
    assert tab.run("document.querySelectorAll('details[open]').length") == 1
    tab.press("Tab")
    assert tab.run(FOCUS)["kind"] == "PRE"
    found = tab.run(PROBE)
    assert found["wide"] == 400 and not found["faint"] and not found["unreachable"]


def test_a_link_of_the_contents_brings_its_heading_into_sight(pages, tab):
    tab.open(pages["all"], width=1280)
    links = tab.run("[...document.querySelectorAll('nav a')].map(e => e.getAttribute('href'))")
    assert len(links) == 5  # side by side, and four runs
    for link in links:
        tab.run(f"document.querySelector('nav a[href=\"{link}\"]').click()")
        top = tab.run("document.querySelector(':target').getBoundingClientRect().top")
        assert -1 <= top < 800


def test_the_probe_finds_what_it_is_looking_for(tmp_path, tab):
    """A page with every fault: a test that cannot fail says nothing."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><body><h1>a</h1><h3>b</h3><p style='width: 900px'>wide</p><img src='data:,'>"
        "<div style='overflow: auto'><p style='width: 900px; color: #aaa'>faint</p></div><a href='#x'></a>"
        "<img src='http://127.0.0.1:9/a.png' alt='b'><script>throw new Error('bad')</script></body>"
    )
    tab.open(page, width=400)
    found = tab.run(PROBE)
    assert found["wide"] > 400 and len(found["beyond"]) >= 1
    assert len(found["unreachable"]) == 1 and len(found["faint"]) == 1 and len(found["nameless"]) == 1
    assert found["headings"] == [1, 3] and found["images"][0] == ["", False]
    assert any("bad" in error or "Uncaught" in error for error in tab.errors)
    assert "http://127.0.0.1:9/a.png" in tab.asked


def test_a_picture_of_the_page_shows_ink_on_ground(pages, tab, tmp_path):
    for dark in (False, True):
        tab.open(pages["images"], width=1280, dark=dark)
        tab.picture(tmp_path / "page.png")
        pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
        assert pixels.shape[1] == 1280 and pixels.shape[0] > 2000
        assert (np.median(pixels) < 60) == dark
        assert 0.02 < (np.abs(pixels.astype(int) - int(np.median(pixels))) > 60).mean() < 0.6
