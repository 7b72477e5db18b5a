"""A plan as the config of a run, with the reason beside each number."""

import json
import re
from collections.abc import Sequence
from math import prod

from medimg.datasets.recognise import Layout, layout_of
from medimg.io.nifti import Form
from medimg.preparation.fingerprint import Fingerprint
from medimg.preparation.plan import Plan
from medimg.preparation.topology import Topology
from medimg.records import DatasetIndex

# Words in class names that a mirror image would make wrong.
_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
_AXES = ("D", "H", "W")
_MODULES: dict[Layout, str] = {
    "nnunet": "NNUNetDataModule",
    "decathlon": "DecathlonDataModule",
    "brats": "BraTSDataModule",
}


def data_module(index: DatasetIndex) -> str:
    """Name of the data module that reads a data set's layout.

    Args:
        index: The data set, as `medimg.datasets.index_dataset` recognised it.
    """
    return _MODULES[layout_of(index.root)]


def mirror_axes(names: Sequence[str]) -> list[int]:
    """Axes (0 D, 1 H, 2 W) that may be mirrored; not left to right where classes are named by side.

    Example:
        >>> mirror_axes(["liver"]), mirror_axes(["left kidney", "right_kidney"])
        ([0, 1, 2], [0, 1])
    """
    return [0, 1] if any(_SIDES.search(name) for name in names) else [0, 1, 2]


def output_names(index: DatasetIndex) -> tuple[tuple[str, ...], bool]:
    """Names of the network's classes or regions, and whether they are regions."""
    regions = index.region_scheme().names
    return (regions, True) if regions else (index.label_scheme().names, False)


def render_config(
    index: DatasetIndex,
    fingerprint: Fingerprint,
    plan: Plan,
    *,
    memory_gb: float,
    max_epochs: int = 1000,
    form: Form = "agree",
    convention: str | None = None,
) -> str:
    """Write a plan as the YAML of a run.

    Args:
        index: The data set.
        fingerprint: What was measured; named in the comments.
        plan: What was derived from it.
        memory_gb: Memory that was asked for.
        max_epochs: Epochs of 250 batches.
        form: Which affine the preparation trusts.
        convention: Label convention of BraTS masks, if one was named.

    Returns:
        A config that ``medimg fit`` takes as it is.
    """
    names, regions = output_names(index)
    sections = [
        _head(index, fingerprint, plan, memory_gb),
        _trainer(max_epochs),
        _model(index, plan, names, regions),
        _data(index, fingerprint, plan, regions=regions, form=form, convention=convention),
    ]
    return "".join(sections)


def _head(index: DatasetIndex, fingerprint: Fingerprint, plan: Plan, memory_gb: float) -> str:
    cases = len(fingerprint.shapes)
    return f"""\
# {index.name}: planned by `medimg plan` from {cases} labelled cases for a GPU of {memory_gb:g} GB.
# Median case {_times(plan.median_shape)} voxels (D x H x W) at {_times(plan.spacing_mm)} mm; patch \
{_times(plan.network.patch)}, batch {plan.batch_size}.
"""


def _trainer(max_epochs: int) -> str:
    often = max(1, min(50, max_epochs // 10))
    return f"""\
seed_everything: 0
trainer:
  accelerator: auto
  precision: auto # bf16 where the device computes with it
  max_epochs: {max_epochs} # epochs of 250 batches; nnU-Net trains 1000
  check_val_every_n_epoch: {often} # whole cases are slow to predict
  gradient_clip_val: 12 # as nnU-Net: a patch without foreground can throw the Dice term
  log_every_n_steps: 10
  num_sanity_val_steps: 0
  callbacks:
    - class_path: ModelCheckpoint
      init_args: {{ monitor: val/dice, mode: max, filename: best, enable_version_counter: false }}
    - class_path: LearningRateMonitor
      init_args: {{ logging_interval: step }}
    - class_path: medimg.callbacks.SamplePictures
      init_args: {{ every_n_epochs: {often} }}
"""


def _model(index: DatasetIndex, plan: Plan, names: Sequence[str], regions: bool) -> str:
    network = plan.network
    patch = list(network.patch)
    outputs = len(names) if regions else len(names) + 1
    why_head = "regions overlap, each has its own channel" if regions else "classes exclude one another"
    why_outputs = "one a region" if regions else "background and the classes"
    loss = "DiceBCELoss" if regions else "DiceCELoss"
    share = prod(network.patch) / prod(plan.median_shape)
    axes = mirror_axes([*names, *index.labels])
    why_axes = "" if len(axes) == 3 else " # not along W: classes are named left and right"
    return f"""\
model:
  class_path: medimg.tasks.SegmentationTask
  init_args:
    classes: {json.dumps(list(names))}
    head: {"sigmoid" if regions else "softmax"} # {why_head}
    network:
      class_path: monai.networks.nets.DynUNet
      init_args:
        spatial_dims: 3
        in_channels: {len(index.channels)} # {_remark(", ".join(index.channels))}
        out_channels: {outputs} # {why_outputs}
        # {_why_levels(network)}
        # An axis is halved while 4 voxels remain and its spacing is within a factor of 2 of the finest.
        strides: {_lists(network.strides)}
        # {_why_kernels(network)}
        kernel_size: {_lists(network.kernels)}
        upsample_kernel_size: {_lists(network.strides[1:])} # the strides, backwards
        filters: {list(network.filters)} # doubled at every level, at most 320
        deep_supervision: true
        deep_supr_num: {len(network.filters) - 2} # a loss at every resolution but the coarsest two
    loss:
      class_path: medimg.losses.{loss}
      init_args: {{ batch_dice: {_flag(plan.batch_dice)} }} # a patch shows {share:.0%} of the median case
    optimizer:
      class_path: torch.optim.SGD
      init_args: {{ lr: 0.01, momentum: 0.99, nesterov: true, weight_decay: 3.0e-5 }} # nnU-Net's
    scheduler:
      class_path: medimg.tasks.PolynomialSchedule
    inferer:
      class_path: medimg.inference.SlidingWindowInferer
      init_args: {{ roi_size: {patch}, sw_batch_size: {plan.batch_size} }} # windows of the size that was trained
    final_inferer:
      class_path: medimg.inference.MirrorTTA
      init_args:
        axes: {axes}{why_axes}
        inferer:
          class_path: medimg.inference.SlidingWindowInferer
          init_args: {{ roi_size: {patch}, sw_batch_size: {plan.batch_size} }}
    channels_last: true
"""


def _data(
    index: DatasetIndex,
    fingerprint: Fingerprint,
    plan: Plan,
    *,
    regions: bool,
    form: Form,
    convention: str | None,
) -> str:
    names, _ = output_names(index)
    more = f"    regions: {json.dumps(list(names))}\n" if regions else ""
    more += f"    convention: {_text(convention)}\n" if convention else ""
    axes = mirror_axes([*names, *index.labels])
    trusted = "" if form == "agree" else f"      form: {form} # where sform and qform differ\n"
    batches = (
        "what the memory holds" if plan.batch_limit == "memory" else "a twentieth of the data set's voxels"
    )
    return f"""\
data:
  class_path: medimg.datamodules.{data_module(index)}
  init_args:
    root: {_text(str(index.root.resolve()))}
{more}    fold: 0 # of 5, each patient in one of them
    num_workers: 2 # more where the GPU waits for data (watch train/data_wait)
    preparation:
      spacing_mm: {list(plan.spacing_mm)} # D, H, W; {_why_spacing(fingerprint, plan)}
      orientation: RAS
      crop_nonzero: true # keeps {_median(fingerprint.kept):.0%} of the median case
{_normalization(fingerprint, plan)}{trusted}\
    patches:
      size: {list(plan.network.patch)} # {_why_patch(plan)}
      batch_size: {plan.batch_size} # {batches}; training takes about {plan.memory_gb:.1f} GB
      batches_per_epoch: 250
      foreground: 0.33 # of the patches are centred on a voxel of a class
    augmentation:
      class_path: medimg.transforms.NNUNetAugmentation
      init_args:
        mirror_axes: {axes}
"""


def _normalization(fingerprint: Fingerprint, plan: Plan) -> str:
    ways = plan.normalization
    shown = list(ways) if len(set(ways)) > 1 else [ways[0]]
    reason = {
        "ct": "Hounsfield units mean the same in every case",
        "zscore": "raw values differ from scanner to scanner",
        "zscore_nonzero": "the background was removed, so only the rest is counted",
        "none": "the data set asks for raw values",
    }
    why = "; ".join(reason[way] for way in dict.fromkeys(ways))
    text = f"      normalization: [{', '.join(shown)}] # {why}\n"
    if plan.window_hu is not None and plan.mean_std is not None:
        text += f"      window_hu: {list(plan.window_hu)} # 0.5 % and 99.5 % of the foreground\n"
        text += f"      mean_std: {list(plan.mean_std)} # of the foreground\n"
    return text


def _why_spacing(fingerprint: Fingerprint, plan: Plan) -> str:
    if len(set(fingerprint.spacings_mm)) == 1:
        return "every case has it"
    if plan.thick_axis is None:
        return "the median of the cases"
    return f"the median of the cases, but the finest tenth along {_AXES[plan.thick_axis]}: thick slices"


def _why_patch(plan: Plan) -> str:
    patch, median = plan.network.patch, plan.median_shape
    if all(n >= m for n, m in zip(patch, median, strict=True)):
        return f"holds the median case {_times(median)}, in multiples of {_times(plan.network.divisor)}"
    return f"of {_times(median)}; as large as the memory allows for batches of 2"


def _why_levels(network: Topology) -> str:
    sizes = ", ".join(_times(size) for size in network.level_sizes)
    return f"Levels of {sizes}."


def _why_kernels(network: Topology) -> str:
    if all(kernel == (3, 3, 3) for kernel in network.kernels):
        return "All axes are about equally fine."
    return "1 along an axis that is still twice as coarse as the finest, or one voxel long."


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _lists(triples: Sequence[Sequence[int]]) -> str:
    return str([list(triple) for triple in triples])


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _text(value: str) -> str:
    """A YAML string, whatever it holds: JSON's strings are YAML's."""
    return json.dumps(value)


def _remark(value: str) -> str:
    return " ".join(value.split())
