"""Training steps a second on one device, beside nnU-Net 2.8.1.

Both sides take the hippocampus network of nnU-Net's planner, the same patch, batch and initial weights, SGD
with Nesterov momentum, deep supervision and gradient clipping. nnU-Net's side is its own trainer's
``train_step``; ours is the step of a SegmentationTask with the settings of ``configs/overlays/cpu.yaml`` or
``gpu.yaml``. Steps alternate, so that a change of the machine's speed meets both.

nnU-Net has no autocast on CPUs; ours computes in bfloat16 where the processor does. Predicted from that
alone: 2 x on a processor with AMX, 1 x on others.

Run: ``uv run --group bench python benchmarks/step.py``
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor, nn

from medimg.commands.precision import resolve_precision
from medimg.keys import IMAGE, MASK
from medimg.losses import DiceCELoss
from medimg.tasks.segmentation import SegmentationTask, deep_supervision

PATCH = (40, 56, 40)
FEATURES = (32, 64, 128, 256)
STRIDES = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
CLASSES = ("anterior", "posterior")
ARCHITECTURE = {
    "n_stages": len(FEATURES),
    "features_per_stage": list(FEATURES),
    "kernel_sizes": [[3, 3, 3]] * len(FEATURES),
    "strides": [list(stride) for stride in STRIDES],
    "n_conv_per_stage": [2] * len(FEATURES),
    "n_conv_per_stage_decoder": [2] * (len(FEATURES) - 1),
    "conv_bias": True,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op_kwargs": None,
    "nonlin_kwargs": {"inplace": True},
}


def main() -> None:
    """Time both sides and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8, help="counted steps of each side")
    parser.add_argument("--batch", type=int, default=7)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(options.batch, 1, *PATCH, generator=generator)
    mask = torch.randint(0, 3, (options.batch, 1, *PATCH), generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        theirs, network = nnunet_step(Path(folder), device, options.batch, image, mask)
        sides = {"ours": our_step(network, device, image, mask), "nnU-Net": theirs}
        seconds = alternate(sides, device, options.steps)
    rates = {name: 1 / statistics.median(times) for name, times in seconds.items()}
    print(f"device {device}, {torch.get_num_threads()} threads, batch {options.batch} of {PATCH}")
    for name, times in seconds.items():
        print(f"{name:8s} median {statistics.median(times):.3f} s, {min(times):.3f} to {max(times):.3f}")
    ratio = rates["ours"] / rates["nnU-Net"]
    print(f"STEP: ours {rates['ours']:.3f} /s, nnU-Net {rates['nnU-Net']:.3f} /s, ratio {ratio:.2f}")


def alternate(
    sides: dict[str, Callable[[], Any]], device: torch.device, steps: int
) -> dict[str, list[float]]:
    """Run the sides in turn; the first two rounds warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(steps + 2):
        for name, side in sides.items():
            synchronize(device)
            start = time.perf_counter()
            side()
            synchronize(device)
            if step >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def our_step(
    weights: dict[str, Tensor], device: torch.device, image: Tensor, mask: Tensor
) -> Callable[[], Any]:
    """One optimizer step of a SegmentationTask."""
    network = PlainConvUNet(
        1,
        conv_op=nn.Conv3d,
        norm_op=nn.InstanceNorm3d,
        nonlin=nn.LeakyReLU,
        num_classes=len(CLASSES) + 1,
        deep_supervision=True,
        **ARCHITECTURE,
    )
    network.load_state_dict(weights)
    task = (
        SegmentationTask(network, classes=CLASSES, loss=DiceCELoss(), channels_last=True).to(device).train()
    )
    if device.type == "cuda":
        task.network.compile()
    optimizer = torch.optim.SGD(
        task.parameters(),
        lr=1e-2,
        momentum=0.99,
        nesterov=True,
        weight_decay=3e-5,
        fused=device.type == "cuda",
    )
    bf16 = resolve_precision("auto", "auto") == "bf16-mixed"
    batch = {IMAGE: image.to(device), MASK: mask.to(device, torch.uint8)}

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            levels = task.apply_network(batch[IMAGE])
            loss = deep_supervision(task.loss, levels, batch[MASK])
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 12)
        optimizer.step()
        loss.item()

    return step


def nnunet_step(
    folder: Path, device: torch.device, batch_size: int, image: Tensor, mask: Tensor
) -> tuple[Callable[[], Any], dict[str, Tensor]]:
    """nnU-Net's own ``train_step``, and the weights it starts from."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
        os.environ[name] = str(folder / name)
    # nnU-Net reads its folders when it is imported.
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    # It looks at the names of prepared cases to choose a reader; the step reads none.
    prepared = folder / "nnUNet_preprocessed" / "Dataset004_Hippocampus" / "nnUNetPlans_3d_fullres"
    prepared.mkdir(parents=True)
    (prepared / "hippocampus_001.b2nd").touch()
    trainer = nnUNetTrainer(plans(batch_size), "3d_fullres", 0, dataset_json(), device=device)
    trainer.initialize()
    trainer.network.train()
    weights = {
        key.removeprefix("_orig_mod."): value.clone() for key, value in trainer.network.state_dict().items()
    }
    factors = [1.0]
    for stride in STRIDES[1:-1]:
        factors.append(factors[-1] / stride[0])
    target = [nn.functional.interpolate(mask.float(), scale_factor=f, mode="nearest") for f in factors]
    batch = {"data": image, "target": target}
    return (lambda: trainer.train_step(batch)), {key: value.cpu() for key, value in weights.items()}


def plans(batch_size: int) -> dict[str, Any]:
    """What nnU-Net's planner writes for the hippocampus, the keys that training reads."""
    module = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    requires = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    kwargs = {
        **ARCHITECTURE,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "dropout_op": None,
        "nonlin": "torch.nn.LeakyReLU",
    }
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch_size,
        "patch_size": list(PATCH),
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {
            "network_class_name": module,
            "arch_kwargs": kwargs,
            "_kw_requires_import": requires,
        },
    }
    return {
        "dataset_name": "Dataset004_Hippocampus",
        "plans_name": "nnUNetPlans",
        "configurations": {"3d_fullres": configuration},
        "label_manager": "LabelManager",
        "continue_training": False,
    }


def dataset_json() -> dict[str, Any]:
    """The hippocampus' classes."""
    return {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": 200,
        "file_ending": ".nii.gz",
    }


if __name__ == "__main__":
    main()
