"""What a fusion of image and table is worth, on phantoms whose label is half in each.

Three networks are trained with the same budget: the image's branch alone, the table's alone, and both joined with
modality dropout. All are scored on the same held-out cases; the joined one also without the table, and without the
image. Intervals are those of resampled patients, and differences are taken on the same resamples.

A network whose table is there is not trained again, so a stopped run goes on where it was. No figure reached on
phantoms says anything about patients.

Run: ``python benchmarks/fusion.py --out fusion_benchmark``
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn

from medimg.datamodules import BatchOptions, CacheOptions, FusionDataModule, ImageInput, ImageOptions
from medimg.datasets import FusionColumns, FusionTable
from medimg.models import (
    ConcatFusion,
    CrossAttentionFusion,
    FusionClassifier,
    GatedFusion,
    TableEncoder,
    TimmClassifier,
)
from medimg.phantoms.fusion import SEXES, SMOKING, TABLE, write_fusion
from medimg.scoring.label_bootstrap import PatientDraws
from medimg.scoring.label_table import LabelArrays, label_arrays, read_label_table
from medimg.scoring.ranking import rank_scores
from medimg.tasks import CosineSchedule, FusionTask
from medimg.transforms import AlbumentationsTransform

FUSIONS = {"concat": ConcatFusion, "gated": GatedFusion, "attention": CrossAttentionFusion}
NUMERIC, CATEGORICAL = ("age", "marker"), {"smoking": SMOKING, "sex": SEXES}
SIDES = {"image": ("image",), "table": ("table",), "fusion": ("image", "table")}
# Side and what is dropped at test, by the name of the row.
SCORED = {
    "image alone": ("image", ()),
    "table alone": ("table", ()),
    "fusion": ("fusion", ()),
    "fusion without table": ("fusion", ("table",)),
    "fusion without image": ("fusion", ("image",)),
}


def make_data(root: Path, drop: tuple[str, ...], cache: Path) -> FusionDataModule:
    """Image and table of the phantoms; nothing in the augmentation changes a size."""
    import albumentations

    columns = FusionColumns(
        id="case_id",
        patient="patient_id",
        split="split",
        labels=("malignant",),
        images={"image": "image"},
        numeric=NUMERIC,
        categorical=dict(CATEGORICAL),
    )
    turns = [albumentations.HorizontalFlip(), albumentations.VerticalFlip(), albumentations.RandomRotate90()]
    image = ImageOptions(size=(64, 64), channels=1, mean=(0.4,), std=(0.2,))
    return FusionDataModule(
        root,
        dataset=FusionTable(Path(TABLE), columns),
        images={"image": ImageInput(image, AlbumentationsTransform(turns))},
        batch=BatchOptions(batch_size=32),
        cache=CacheOptions(folder=cache),
        drop=drop,
    )


def make_network(names: tuple[str, ...], fusion: str) -> FusionClassifier:
    """The branches of these inputs; a single one has nothing to be dropped."""
    every: dict[str, nn.Module] = {
        "image": TimmClassifier("resnet10t", 0, in_channels=1),
        "table": TableEncoder(NUMERIC, dict(CATEGORICAL)),
    }
    rate = 0.3 if len(names) > 1 else 0.0
    branches = {name: every[name] for name in names}
    return FusionClassifier(branches, 1, fusion=FUSIONS[fusion], width=64, modality_dropout=rate)


def make_trainer(folder: Path, epochs: int, steps: int) -> Trainer:
    """A trainer that keeps its files in a folder."""
    return Trainer(
        max_epochs=epochs,
        limit_train_batches=steps or None,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def train_side(arguments: argparse.Namespace, side: str, root: Path) -> None:
    """Train one network and score it as often as the table of results asks; the tables are what is left."""
    wanted = {name: drop for name, (of, drop) in SCORED.items() if of == side}
    folders = {name: arguments.out / name.replace(" ", "-") for name in wanted}
    if all((folder / "per_case.csv").is_file() for folder in folders.values()):
        return
    clock = time.perf_counter()
    seed_everything(arguments.seed)
    task = FusionTask(
        make_network(SIDES[side], arguments.fusion),
        task="binary",
        classes=["malignant"],
        optimizer=lambda params: torch.optim.AdamW(params, lr=1e-3, weight_decay=0.05),
        scheduler=CosineSchedule(warmup=0.1),
    )
    trainer = make_trainer(arguments.out, arguments.epochs, arguments.steps)
    trainer.fit(task, datamodule=make_data(root, (), arguments.out / "cache"))
    loss = float(trainer.callback_metrics["train/loss"])
    for name, drop in wanted.items():
        task.predictions_folder = folders[name]
        trainer.test(task, datamodule=make_data(root, drop, arguments.out / "cache"), verbose=False)
    minutes = (time.perf_counter() - clock) / 60
    print(f"{side}: {arguments.epochs} epochs, {minutes:.1f} minutes, loss {loss:.3f}", flush=True)


def areas(table: LabelArrays, draws: PatientDraws) -> np.ndarray:
    """AUC of the cases as they are, and of each resample of patients (1 + R,)."""
    ranked = rank_scores(table.truth[:, 0] == 1, table.prob[:, 0])
    return np.concatenate([ranked.auroc(times[draws.patient]) for times in draws.chunks()])


def interval(values: np.ndarray) -> str:
    """The value itself, and the interval of 95 % of its resamples."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Train what is missing, print a line a row and the comparison."""
    parser = argparse.ArgumentParser(description="Fusion of image and table against each alone, on phantoms.")
    parser.add_argument(
        "--out", type=Path, default=Path("fusion_benchmark"), help="folder of phantoms and tables"
    )
    parser.add_argument(
        "--cases", type=int, default=800, help="phantoms; six tenths train, three tenths test"
    )
    parser.add_argument("--epochs", type=int, default=30, help="of each network")
    parser.add_argument("--fusion", choices=FUSIONS, default="gated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="most steps in an epoch, to rehearse; 0: all")
    parser.add_argument("--resamples", type=int, default=2000, help="of patients")
    arguments = parser.parse_args()
    root = arguments.out / "phantoms"
    write_fusion(root, cases=arguments.cases, seed=arguments.seed, workers=os.cpu_count() or 1)
    for side in SIDES:
        train_side(arguments, side, root)
    tables = {
        name: label_arrays(read_label_table(arguments.out / name.replace(" ", "-") / "per_case.csv"))
        for name in SCORED
    }
    first = next(iter(tables.values()))
    if any(table.case_ids != first.case_ids for table in tables.values()):
        raise SystemExit(
            f"{arguments.out}: the tables are of different cases; delete the folder and run again"
        )
    draws = PatientDraws(first.patient_ids, resamples=arguments.resamples, seed=0)
    found = {name: areas(table, draws) for name, table in tables.items()}
    print(f"{len(first.case_ids)} held-out phantoms, AUC:")
    for name, values in found.items():
        print(f"  {name}: {interval(values)}")
    best = max(("image alone", "table alone"), key=lambda name: float(found[name][0]))
    print(f"fusion over the better one alone ({best}): {interval(found['fusion'] - found[best])}")
    for kept, lost in (("image", "table"), ("table", "image")):
        change = found[f"fusion without {lost}"] - found[f"{kept} alone"]
        print(f"fusion without {lost} over the {kept}'s branch alone: {interval(change)}")
    ours, single = float(found["fusion"][0]), float(found[best][0])
    print(f"fusion: ours {ours:.3f}, best single {single:.3f}, ratio {ours / single:.3f}")


if __name__ == "__main__":
    main()
