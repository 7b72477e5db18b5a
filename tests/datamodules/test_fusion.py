"""Several inputs of a case: present or blank, split by patient, each case scored once."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    FusionDataModule,
    ImageInput,
    ImageOptions,
    SplitOptions,
    TextOptions,
    VolumeInput,
    VolumeOptions,
)
from medimg.datasets import FusionColumns, FusionTable
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.models.fusion import INPUTS
from medimg.transforms import AlbumentationsTransform

IMAGE = ImageInput(ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,)))
VOLUME = VolumeInput(VolumeOptions(size=(8, 8, 8), normalization="range", bits=8))
COLUMNS = {
    "id": "id",
    "patient": "patient",
    "labels": ("sick",),
    "images": {"image": "ct", "image_2": "mri"},
    "numeric": ("age",),
    "categorical": {"sex": ("F", "M")},
}


@pytest.fixture
def root(tmp_path, write_table, write_picture, write_volume, make_case):
    """Twelve cases of six patients; 9 has no image, 10 nothing at all, 11 no label; three have a volume."""
    folder, rows = tmp_path / "set", []
    for n in range(12):
        write_picture(folder / f"c{n}.png", seed=n)
        if n < 3:
            write_volume(folder / f"v{n}.nii.gz", make_case((9, 10, 8), seed=n)[0][0])
        rows.append(
            [
                f"c{n}",
                f"p{n // 2}",
                "" if n == 11 else str(n % 2),
                "" if n in (9, 10) else f"c{n}.png",
                f"v{n}.nii.gz" if n < 3 else "",
                "" if n == 10 else 40 + n,
                "" if n in (4, 10) else "FM"[n % 2],
            ]
        )
    write_table(folder / "t.csv", ["id", "patient", "sick", "ct", "mri", "age", "sex"], rows)
    return folder


@pytest.fixture
def make(root, tmp_path, stand_in, monkeypatch):
    """``make(verb, rank, world, columns=..., **options)``: the cases in two folds."""
    monkeypatch.setattr("medimg.datamodules.fusion.usable_cores", lambda: 1)

    def build(verb="fit", rank=0, world=1, columns=COLUMNS, ready=True, **options):
        settings = {
            "dataset": FusionTable(Path("t.csv"), FusionColumns(**columns)),
            "split": SplitOptions(num_folds=2),
            "images": {"image": IMAGE, "image_2": VOLUME},
            "batch": BatchOptions(batch_size=2),
            "cache": CacheOptions(tmp_path / "kept"),
        }
        data = FusionDataModule(options.pop("root", root), **{**settings, **options})
        data.trainer = stand_in(verb, rank, world, training=verb == "fit")
        if ready:
            data.prepare_data()
            data.setup(verb)
        return data

    return build


def finished(data, loader):
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def ids(batches):
    return [case for batch in batches for case in batch["case_id"]]


def test_batches_hold_what_each_case_has_and_blanks_elsewhere(make):
    data = make("test")
    batches = finished(data, data.scored_cases(tuple(f"c{n}" for n in range(12))))
    rows = {}
    for batch in batches:
        size = len(batch["case_id"])
        assert batch["image"].shape == (size, 1, 16, 16)
        assert batch["image_2"].shape == (size, 1, 8, 8, 8)
        assert batch["image"].dtype == batch["image_2"].dtype == torch.float32
        assert (batch["table"].shape, batch["category"].shape) == ((size, 1), (size, 1))
        for at, case in enumerate(batch["case_id"]):
            rows[case] = {key: batch[key][at] for key in ("image", "table", "category", "present", "label")}
    present = {
        case: {n for n, has in zip(INPUTS, row["present"].tolist(), strict=True) if has}
        for case, row in rows.items()
    }
    assert present["c0"] == {"image", "image_2", "table"}
    assert present["c3"] == {"image", "table"}
    assert present["c9"] == {"table"}
    assert present["c10"] == set()
    assert (rows["c9"]["image"] == rows["c9"]["image"].flatten()[0]).all()
    assert rows["c3"]["image"].std() > 0.1
    assert rows["c4"]["category"].tolist() == [0]
    assert rows["c3"]["category"].tolist() == [3]
    assert rows["c10"]["table"].isnan().all()
    assert [rows["c5"]["table"].item(), rows["c5"]["label"].item()] == [45, 1]


def test_every_case_is_scored_once_whatever_the_number_of_processes(make):
    data = make("test")
    whole = ids(data.test_dataloader())
    assert sorted(whole) == sorted(data.split.val)
    parts = [case for rank in range(3) for case in ids(make("test", rank, 3).test_dataloader())]
    assert sorted(parts) == sorted(whole)


def test_patients_stay_on_one_side_and_cases_that_teach_nothing_do_not_train(make, caplog):
    for fold in (0, 1):
        data = make(fold=fold)
        owner = {f"c{n}": f"p{n // 2}" for n in range(12)}
        train, val = ({owner[case] for case in side} for side in (data.split.train, data.split.val))
        assert not train & val
        drawn = {case for _ in range(3) for case in ids(data.train_dataloader())}
        assert not drawn & {"c10", "c11"}
        assert drawn <= set(data.split.train)
    assert "1 cases of t have none of image, image_2, table, such as c10: they do not train" in caplog.text


def test_statistics_are_of_the_training_cases(make):
    data = make()
    expected = [40 + int(case[1:]) if case != "c10" else np.nan for case in sorted(data.split.train)]
    np.testing.assert_array_equal(data.train_table[:, 0], np.float32(expected))
    assert data.schema.columns == ("age", "sex")
    assert data.input_shapes == {"image": (1, 16, 16), "image_2": (1, 8, 8, 8)}


def test_chance_is_of_the_seed_and_changes_training_images_alone(make):
    noisy = ImageInput(IMAGE.image, AlbumentationsTransform(preset="ultrasound"))
    data = make(images={"image": noisy})
    plain = make(images={"image": IMAGE})
    torch.manual_seed(0)
    one, other = ({c: x for b in data.train_dataloader() for c, x in zip(b["case_id"], b["image"], strict=True)}
                  for _ in range(2))  # fmt: skip
    assert all(torch.equal(one[case], other[case]) for case in one.keys() & other.keys())
    still = {c: x for b in plain.train_dataloader() for c, x in zip(b["case_id"], b["image"], strict=True)}
    assert any(not torch.equal(one[case], still[case]) for case in one.keys() & still.keys())
    for changed, kept in zip(data.val_dataloader(), plain.val_dataloader(), strict=True):
        assert torch.equal(changed["image"], kept["image"])


def test_a_dropped_input_is_not_read_and_stays_known_by_name(make, root):
    for n in range(3):
        (root / f"v{n}.nii.gz").write_bytes(b"no volume")
    data = make("test", drop=("image_2", "table"))
    (batch, *_) = finished(data, data.test_dataloader())
    assert data.inputs == ("image", "image_2", "table")
    assert "image_2" not in batch
    assert "table" not in batch
    assert not batch["present"][:, 1:].any()
    with pytest.raises(DataError, match="volumes cannot be used"):
        make("test")


def test_predict_takes_a_table_without_labels_and_reads_on_the_fly(
    make, root, tmp_path, write_table, write_picture
):
    new = tmp_path / "new"
    write_picture(new / "x.png", seed=5)
    write_table(new / "t.csv", ["id", "patient", "ct", "mri", "age", "sex"], [["x", "q", "x.png", "", "", "F"],
                                                                             ["y", "q", "", "", "50", ""]])  # fmt: skip
    data = make("predict", predict_root=new)
    (batch,) = finished(data, data.predict_dataloader())
    assert batch["case_id"] == ["x", "y"]
    assert "label" not in batch
    assert batch["present"].tolist() == [[True, False, True, False], [False, False, True, False]]
    own = make("predict")
    assert len(ids(own.predict_dataloader())) == 12


def test_a_checkpoint_of_the_scored_cases_is_refused(make):
    state = make().state_dict()
    with pytest.raises(CheckpointError, match="was trained on"):
        make("test", fold=1).load_state_dict(state)
    make("test").load_state_dict(state)


REFUSED = [
    ({"drop": ("text",)}, r"drop: FusionTable has image, image_2, table, and not text"),
    ({"images": {"mri": IMAGE}}, r"images: FusionTable has image, image_2, table, and not mri"),
    ({"drop": ("table",), "images": {}}, "nothing of it is read"),
    ({"batch": BatchOptions(views=2)}, "cases of several inputs take batch_size and balance alone"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=[said[:20] for _, said in REFUSED])
def test_what_makes_no_sense_is_refused(make, options, said):
    with pytest.raises(ConfigError, match=said):
        make(ready=False, **options)


def test_an_input_that_no_case_has_is_refused(make, root):
    text = (root / "t.csv").read_text()
    for n in range(3):
        text = text.replace(f"v{n}.nii.gz", "")
    (root / "t.csv").write_text(text)
    with pytest.raises(DataError, match="no case has image_2"):
        make()


def test_text_is_tokenised_once_and_cut_to_the_longest_of_the_batch(make, root, write_table, monkeypatch):
    texts = ["", "Clear.", "There is a large pleural effusion on the left side of the chest.", "Clear."]
    rows = [[f"r{n}", f"p{n}", str(n % 2), text] for n, text in enumerate(texts)]
    write_table(root / "t.csv", ["id", "patient", "sick", "report"], rows)
    columns = {"id": "id", "patient": "patient", "labels": ("sick",), "text": ("report",)}
    options = {"columns": columns, "images": {}, "text": TextOptions(limit=10)}
    data = make("test", **options)
    assert data.inputs == ("text",)
    assert data.input_shapes == {"text": (10,)}
    monkeypatch.setattr(
        "medimg.datamodules.fusion_inputs.Tokens.__call__", lambda *_: pytest.fail("made again")
    )
    data = make("test", **options)
    batches = list(data.scored_cases(("r0", "r1", "r2", "r3")))
    assert [batch["text"].shape for batch in batches] == [(2, 4), (2, 10)]
    assert batches[0]["text"].dtype == torch.int64
    assert not batches[0]["text"][0].any()
    assert torch.equal(batches[0]["text"][1], batches[1]["text"][1, :4])
    assert [batch["present"][:, 3].tolist() for batch in batches] == [[False, True], [True, True]]


@pytest.mark.slow
def test_embedded_texts_are_those_that_the_encoder_gives(make, root, write_table):
    from medimg.models import TextEncoder
    from medimg.models.text_encoder import Tokens

    texts = ["Clear lungs.", "There is a large pleural effusion.", "Clear lungs.", "Cardiomegaly."]
    rows = [[f"r{n}", f"p{n}", str(n % 2), text] for n, text in enumerate(texts)]
    write_table(root / "t.csv", ["id", "patient", "sick", "report"], rows)
    columns = {"id": "id", "patient": "patient", "labels": ("sick",), "text": ("report",)}
    data = make("test", columns=columns, images={}, text=TextOptions(embedded=True))
    found = torch.cat([batch["text"] for batch in data.scored_cases(("r0", "r1", "r2", "r3"))])
    expected = TextEncoder().eval().features(torch.from_numpy(Tokens()(texts)).long())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.real
@pytest.mark.slow
def test_the_text_branch_learns_from_real_reports(tmp_path, monkeypatch):
    """configs/openi.yaml as it is, on fold 0; another AUC comes from a logistic regression on the same vectors."""
    import csv

    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from medimg.cli import main

    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[2] / "configs" / "openi.yaml"
    tables = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables"
    assert main(["fit", "--config", str(config), "--data.root", str(tables), "--score_best", "false"]) == 0
    run = tmp_path / "lightning_logs" / "openi" / "version_0"
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    rows = list(csv.DictReader((run / "test" / "per_case.csv").open(newline="")))
    rows = [row for row in rows if row["target_abnormal"] not in ("", "nan")]
    target = [float(row["target_abnormal"]) for row in rows]
    ours = roc_auc_score(target, [float(row["prob_abnormal"]) for row in rows])
    (kept,) = (tmp_path / "prepared").glob("open-i-texts-*/rows.npy")
    vectors, records = np.load(kept), make_openi(tables)
    place = {record.case_id: at for at, record in enumerate(records)}
    held = {row["case_id"] for row in rows}
    train = [
        at for case, at in place.items() if case not in held and records[at].labels["abnormal"] in (0, 1)
    ]
    model = LogisticRegression(C=100, max_iter=5000).fit(
        vectors[train], [records[a].labels["abnormal"] for a in train]
    )
    linear = roc_auc_score(
        target, model.predict_proba(vectors[[place[row["case_id"]] for row in rows]])[:, 1]
    )
    assert len(rows) > 600
    said = f"{len(rows)} held-out reports: ours {ours:.3f}, logistic regression {linear:.3f}"
    assert ours >= max(0.9, linear - 0.02), said


def make_openi(root):
    from medimg.datasets import OpenI

    return OpenI().cases(root).index.records
