"""What SimCLR's features know of breast lesions that those of random weights do not, on BUSI.

For each of five folds a ResNet-18 learns from the training cases alone, without labels, on 96 x 96 pixels. A logistic
regression on its frozen features, fitted to the labels of the same cases, then tells malignant images from the rest
among those of the fold. The same regression on the features of the network that SimCLR started from is the other
side; its batch norm has seen the training cases, so that only what was learned differs. Each side writes its table of
unseen cases; the interval is that of the difference in AUC on the same resamples of patients.

A fold whose table is there is not run again, so a stopped run goes on where it was.

Run: ``python benchmarks/ssl_busi.py DIR/BUSI --out ssl_busi``
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
from lightning.pytorch import Trainer, seed_everything
from torch.optim import SGD

from medimg.datamodules import BatchOptions, CacheOptions, ImageDataModule, ImageOptions, SplitOptions
from medimg.datasets import ImageFolder
from medimg.models import TimmClassifier
from medimg.scoring.label_bootstrap import PatientDraws
from medimg.scoring.label_table import LabelArrays, label_arrays, read_label_table
from medimg.scoring.ranking import rank_scores
from medimg.tasks import SimCLRTask
from medimg.transforms import AlbumentationsTransform

SIDES = ("ours", "random")
SETTLING = 5  # epochs in which batch norm of the random network sees the training cases


def make_data(root: Path, fold: int, folds: int, size: int, cache: Path) -> ImageDataModule:
    """BUSI as two strongly changed views of each training case."""
    return ImageDataModule(
        root,
        dataset=ImageFolder(positive=("malignant",)),
        fold=fold,
        split=SplitOptions(num_folds=folds),
        image=ImageOptions(size=(size, size), channels=1, mean=(0.5,), std=(0.5,)),
        transform=AlbumentationsTransform(preset="ultrasound_views"),
        batch=BatchOptions(batch_size=64, views=2),
        cache=CacheOptions(folder=cache),
    )


def make_trainer(folder: Path, epochs: int, steps: int) -> Trainer:
    """A trainer that keeps its files in a folder."""
    return Trainer(
        max_epochs=epochs,
        limit_train_batches=steps or None,
        limit_val_batches=None,
        check_val_every_n_epoch=epochs + 1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def run_fold(arguments: argparse.Namespace, fold: int) -> None:
    """Train and probe both sides of a fold; their tables are what is left."""
    folders = {side: arguments.out / f"fold{fold}" / side for side in SIDES}
    seed_everything(fold)
    started = TimmClassifier(arguments.architecture, 0, in_channels=1)
    for side, folder in folders.items():
        if (folder / "validate" / "per_case.csv").is_file():
            continue
        clock = time.perf_counter()
        encoder = copy.deepcopy(started)
        data = make_data(arguments.root, fold, arguments.folds, arguments.size, arguments.out / "cache")
        if side == "ours":
            task, epochs = SimCLRTask(encoder, channels_last=True), arguments.epochs
        else:
            still = SimCLRTask(encoder, optimizer=lambda params: SGD(params, lr=0.0), channels_last=True)
            task, epochs = still, min(SETTLING, arguments.epochs)
        seed_everything(fold)
        trainer = make_trainer(folder, epochs, arguments.steps)
        trainer.fit(task, datamodule=data)
        loss = float(trainer.callback_metrics["train/loss"])
        trainer.validate(task, datamodule=data, verbose=False)
        minutes = (time.perf_counter() - clock) / 60
        print(f"fold {fold}, {side}: {epochs} epochs, {minutes:.1f} minutes, loss {loss:.3f}", flush=True)


def unseen(out: Path, side: str, folds: int) -> LabelArrays:
    """The rows of all folds of a side, each case where it validated."""
    rows = [
        row
        for fold in range(folds)
        for row in read_label_table(out / f"fold{fold}" / side / "validate" / "per_case.csv")
    ]
    return label_arrays(rows)


def areas(table: LabelArrays, draws: PatientDraws) -> np.ndarray:
    """AUC of the cases as they are, and of each resample of patients (1 + R,)."""
    ranked = rank_scores(table.truth[:, 0] == 1, table.prob[:, 0])
    return np.concatenate([ranked.auroc(times[draws.patient]) for times in draws.chunks()])


def main() -> None:
    """Run what is missing, print a line a fold and the difference."""
    parser = argparse.ArgumentParser(description="SimCLR against random weights on BUSI, by linear probes.")
    parser.add_argument("root", type=Path, help="folder of BUSI: benign, malignant, normal")
    parser.add_argument("--out", type=Path, default=Path("ssl_busi"), help="folder of the tables")
    parser.add_argument("--epochs", type=int, default=100, help="of SimCLR, in each fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="edge of the images in pixels")
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--steps", type=int, default=0, help="most steps in an epoch, to rehearse; 0: all")
    parser.add_argument("--resamples", type=int, default=2000, help="of patients")
    arguments = parser.parse_args()
    for fold in range(arguments.folds):
        run_fold(arguments, fold)
    tables = {side: unseen(arguments.out, side, arguments.folds) for side in SIDES}
    ours, random = tables["ours"], tables["random"]
    assert ours.case_ids == random.case_ids
    for fold in range(arguments.folds):
        own = [label_arrays(read_label_table(arguments.out / f"fold{fold}" / side / "validate" / "per_case.csv"))
               for side in SIDES]  # fmt: skip
        once = PatientDraws(own[0].patient_ids, resamples=0, seed=0)
        values = [float(areas(table, once)[0]) for table in own]
        print(f"fold {fold}: ours {values[0]:.3f}, random {values[1]:.3f}, {len(own[0].case_ids)} cases")
    draws = PatientDraws(ours.patient_ids, resamples=arguments.resamples, seed=0)
    a, b = areas(ours, draws), areas(random, draws)
    low, high = np.nanpercentile(a[1:] - b[1:], [2.5, 97.5])
    print(f"ssl_busi: ours {a[0]:.3f}, random {b[0]:.3f}, gain {a[0] - b[0]:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
