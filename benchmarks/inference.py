"""Window and export beside nnU-Net's, one network, the same weights, CPU, in one run.

    uv run --group bench python benchmarks/inference.py [--quick] [--data FOLDER]

Cases: a BraTS case of 240 x 240 x 155 x 4 cropped to its brain, and a CT on a 1.5 mm grid, both with four flips
(mirror axes D and H) and half-overlapping Gaussian tiles. The images are BraTS2023 and ct in the folder named by
MEDIMG_REAL_DATA (or --data); without it, made-up volumes of the same size. The network is nnU-Net's PlainConvUNet
with 16 to 256 filters, trained for a minute on this very image to tell four bands of smoothed intensity: the logits of
random weights nearly tie everywhere and rounding would decide the labels. The export gets made-up logits of 30 classes:
ellipsoids in a background, with the smooth borders of a trained network.

Both sides are float32 (nnU-Net sums tiles in float16, we in float32); then once more with bfloat16
autocast on ours. Each window runs after nnU-Net's on the same case; the export gets the same logits
on both sides and starts from nnU-Net's float16.

Prediction, from one profiled tile of 128^3 (2 cores with AVX-512 and AMX): of nnU-Net's 3.3 s, 2.4 are
convolutions reordering plain to blocked layout and back, 0.6 instance normalisation, 0.3 copies. With
channels innermost throughout the convolutions take 1.2 s and the normalisation 0.5, so: window 0.6 x,
bfloat16 0.25 x; export, with 1/30 s a class beside scikit-image's float64, below 0.1 x.
Outcome of --quick on two shared cores: BraTS window 0.69 x (bfloat16 0.25), CT window 0.94 x (0.27), export 0.12 x.
In small tiles less time goes into convolutions, hence the CT's ratio. The full run is still to be made.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn
from torch.nn import functional

from medimg.inference import MirrorTTA, SlidingWindowInferer, export_labels
from medimg.inference.channels_last import ChannelsLastNorm
from medimg.preparation.geometry import Geometry

BRATS_SHAPE = (155, 240, 240)
CT_SHAPE = (112, 101, 122)  # at 3 mm
EXPORT_CLASSES = 30
WINDOW_CLASSES = 4
FLIP_AXES = (0, 1)
TRAINING_STEPS = 80


def main() -> None:
    """Measure and print; the last lines are the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a corner of each case, for a rehearsal of minutes"
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDIMG_REAL_DATA"), help="real images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines = []
    image = brats_image(args.data)
    tile = 96 if args.quick else 128
    image = image[:, 16:112, 40:144, 20:116] if args.quick else image
    lines += compare_windows("BRATS", image, (tile,) * 3, (-0.5, 0.3, 1.2))
    image, source_shape = ct_image(args.data)
    tile = 64 if args.quick else 160
    image = image[:, 80:144, 60:124, 80:176] if args.quick else image
    source_shape = (32, 32, 48) if args.quick else source_shape
    bands = tuple((hounsfield + 300) / 500 for hounsfield in (-600, -150, 150))
    lines += compare_windows("CT", image, (tile,) * 3, bands)
    lines += compare_exports(organ_logits(image.shape[1:]), source_shape)
    print("\n".join(lines))


def brats_image(root: Path | None) -> Tensor:
    """The four modalities, z-scored within the brain, cropped to it, shape (4, D, H, W)."""
    if root is None:
        image = made_up((4, *BRATS_SHAPE))
        image *= ball(BRATS_SHAPE, 0.62)
    else:
        files = sorted(Path(root, "BraTS2023", "BraTS-GLI-00001-000").glob("*.nii.gz"))
        image = torch.stack([read(file) for file in files])
    inside = (image != 0).any(0)
    spans = [inside.any(dim=[a for a in range(3) if a != axis]).nonzero() for axis in range(3)]
    d, h, w = (slice(int(span.min()), int(span.max()) + 1) for span in spans)
    image, inside = image[:, d, h, w], inside[d, h, w]
    for channel in image:
        channel[inside] = (channel[inside] - channel[inside].mean()) / channel[inside].std()
    return image


def ct_image(root: Path | None) -> tuple[Tensor, tuple[int, ...]]:
    """The CT resampled from 3 to 1.5 mm and normalised, shape (1, D, H, W), and its size at 3 mm."""
    image = made_up((1, *CT_SHAPE))[0] * 300 if root is None else read(Path(root, "ct", "example_ct.nii.gz"))
    fine = functional.interpolate(image[None, None], scale_factor=2.0, mode="trilinear")[0]
    return (fine.clamp(-1000, 1000) + 300) / 500, tuple(image.shape)


def read(file: Path) -> Tensor:
    """A NIfTI file as float32 (D, H, W), D the last axis of the file."""
    return torch.from_numpy(np.asarray(nib.load(file).dataobj, dtype=np.float32).T.copy())


def made_up(shape: tuple[int, ...]) -> Tensor:
    """Smooth noise with fine noise on top, shape (C, D, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((1, shape[0], 8, 8, 8), generator=generator)
    smooth = functional.interpolate(coarse, shape[1:], mode="trilinear")[0]
    return smooth + 0.2 * torch.randn(shape, generator=generator)


def ball(shape: tuple[int, ...], radius: float) -> Tensor:
    """A mask (D, H, W) of an ellipsoid that fills the given share of each axis."""
    lines = [torch.linspace(-1, 1, size) for size in shape]
    return (lines[0][:, None, None] ** 2 + lines[1][:, None] ** 2 + lines[2] ** 2) < radius**2


def build_network(image: Tensor, bands: tuple[float, ...]) -> nn.Module:
    """A PlainConvUNet trained on patches of the image to tell bands of its smoothed mean intensity."""
    torch.manual_seed(0)
    network = PlainConvUNet(
        input_channels=image.shape[0],
        n_stages=5,
        features_per_stage=[16, 32, 64, 128, 256],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2, 2],
        n_conv_per_stage=2,
        num_classes=WINDOW_CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    smooth = functional.avg_pool3d(image.mean(0)[None, None], 5, stride=1, padding=2)
    target = torch.bucketize(smooth, torch.tensor(bands))[0, 0]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(TRAINING_STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / TRAINING_STEPS)
        starts = [int(torch.randint(max(1, n - 63), (1,), generator=generator)) for n in image.shape[1:]]
        d, h, w = (slice(start, start + 64) for start in starts)
        with torch.autocast("cpu", torch.bfloat16), ChannelsLastNorm():
            logits = network(image[None, :, d, h, w].contiguous(memory_format=torch.channels_last_3d))
        loss = functional.cross_entropy(logits.float(), target[None, d, h, w])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained for {TRAINING_STEPS} steps to a cross-entropy of {loss.item():.3f}", flush=True)
    return network.eval()


def organ_logits(shape: tuple[int, ...]) -> Tensor:
    """Logits (30, D, H, W) of a background and 29 ellipsoids, float16 as nnU-Net hands them over."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(EXPORT_CLASSES, *shape, dtype=torch.float16)
    for channel in logits[1:]:
        centre, radius = (
            2 * torch.rand(3, generator=generator) - 1,
            0.1 + 0.3 * torch.rand(3, generator=generator),
        )
        lines = [(torch.linspace(-1, 1, n) - c) / r for n, c, r in zip(shape, centre, radius, strict=True)]
        distance = (lines[0][:, None, None] ** 2 + lines[1][:, None] ** 2 + lines[2] ** 2).sqrt()
        channel.copy_((1 - distance).clamp(-3, 1) * 10)
    return logits


def peer_predictor(network: nn.Module, tile: tuple[int, ...], classes: int) -> nnUNetPredictor:
    """NnU-Net's predictor around the network, as its trainer sets it up for validation."""
    configuration = {
        "patch_size": list(tile),
        "spacing": [1.5, 1.5, 1.5],
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {
            "is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None,
        },
        "architecture": {},
    }  # fmt: skip
    plans = PlansManager(
        {
            "configurations": {"3d_fullres": configuration},
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
        }
    )
    labels = {"background": 0} | {f"class {k}": k for k in range(1, classes)}
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        network, plans, plans.get_configuration("3d_fullres"), None, {"labels": labels}, "none", FLIP_AXES
    )
    return predictor


def compare_windows(name: str, image: Tensor, tile: tuple[int, ...], bands: tuple[float, ...]) -> list[str]:
    """Time the three windows on one case; the lines to print."""
    network = build_network(image, bands)
    predictor = peer_predictor(network, tile, WINDOW_CLASSES)
    inferer = MirrorTTA(SlidingWindowInferer(tile, sw_batch_size=1), axes=FLIP_AXES)
    print(f"{name}: image {tuple(image.shape)}, tile {tile}, {WINDOW_CLASSES} classes", flush=True)
    with torch.inference_mode():
        warm_up(network, image, tile)
        peer, peer_seconds = timed(lambda: predictor.predict_sliding_window_return_logits(image))
        ours, seconds = timed(lambda: inferer(image[None], network)[0])
        report(f"{name} fp32", peer, ours, peer_seconds, seconds)
        with torch.autocast("cpu", torch.bfloat16):
            half, half_seconds = timed(lambda: inferer(image[None], network)[0])
        report(f"{name} bf16", peer, half, peer_seconds, half_seconds)
    return [
        verdict(f"WINDOW_{name}", seconds, peer_seconds),
        verdict(f"WINDOW_{name}_BF16", half_seconds, peer_seconds),
    ]


def warm_up(network: nn.Module, image: Tensor, tile: tuple[int, ...]) -> None:
    """One small tile, so that no side pays for the libraries' first call."""
    small = image[None, :, :32, :32, :32]
    network(small)
    MirrorTTA(SlidingWindowInferer((32,) * 3), axes=())(small, network)


def compare_exports(logits: Tensor, shape: tuple[int, ...]) -> list[str]:
    """Time both exports of the same logits (K, d, h, w) to the source's grid; the lines to print."""
    predictor = peer_predictor(nn.Identity(), (1, 1, 1), logits.shape[0])
    full = tuple(size + 10 for size in shape)
    low = (5, 5, 5)
    high = tuple(5 + size for size in shape)
    spacing = (3.0, 3.0, 3.0)
    geometry = Geometry(full, spacing, (0, 1, 2), (), (low, high), tuple(logits.shape[1:]), spacing)
    properties = {
        "spacing": [3.0, 3.0, 3.0],
        "shape_before_cropping": full,
        "shape_after_cropping_and_before_resampling": shape,
        "bbox_used_for_cropping": [list(ends) for ends in zip(low, high, strict=True)],
    }

    def export_peer() -> Any:
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.label_manager,
            properties,
            num_threads_torch=torch.get_num_threads(),
        )

    def export_ours() -> Any:
        return geometry.to_source(export_labels(logits, shape))

    theirs, peer_seconds = timed(export_peer)
    labels, seconds = timed(export_ours)
    print(f"CT export of {tuple(logits.shape)} to {shape}: {equal(theirs, labels)}", flush=True)
    return [verdict("EXPORT_CT", seconds, peer_seconds)]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds by the clock."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def report(name: str, peer: Tensor, ours: Tensor, peer_seconds: float, seconds: float) -> None:
    """Print one comparison of windows."""
    same = equal(peer.argmax(0).numpy(), ours.argmax(0).numpy())
    apart = max(float((a - b.float()).abs().max()) for a, b in zip(ours, peer, strict=True))
    spread = float(ours.std())
    print(
        f"{name}: {seconds:.1f} s against {peer_seconds:.1f} s; {same}; "
        f"largest difference {apart:.4f} at a spread of {spread:.2f}",
        flush=True,
    )


def equal(one: np.ndarray, other: np.ndarray) -> str:
    """Share of voxels with the same label, in words."""
    return f"equal argmax on {100 * np.mean(one == other):.3f} % of voxels"


def verdict(name: str, seconds: float, peer_seconds: float) -> str:
    """The line that the project's table asks for."""
    return f"{name}: ours {seconds:.2f} s, nnU-Net {peer_seconds:.2f} s, ratio {seconds / peer_seconds:.3f}"


if __name__ == "__main__":
    main()
