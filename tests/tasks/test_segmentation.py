import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW

from medimg import keys
from medimg.datamodules import PatchOptions
from medimg.datamodules.patches import RawCaseDataset, region_table, to_regions
from medimg.datasets.brats import index_brats
from medimg.datasets.decathlon import index_decathlon
from medimg.datasets.nnunet import index_nnunet
from medimg.errors import CheckpointError, ConfigError
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.io.nifti import read_mask
from medimg.losses import DiceCELoss, DiceFocalLoss
from medimg.preparation.prepare import Preparation, prepare_case
from medimg.tasks import CosineSchedule, PolynomialSchedule
from medimg.tasks.segmentation import deep_supervision, labels_on_source, shrink

# ---- label maps: reference -> channels -> perfect logits -> written labels -------------------------


def round_trip(index, scheme, head, spacing_mm=None):
    """Labels written for logits that are right everywhere."""
    record = index.records[0]
    case = prepare_case(record, index, Preparation(spacing_mm=spacing_mm, crop_nonzero=False))
    classes = torch.from_numpy(case.mask)[None, None]
    if head == "sigmoid":
        logits = to_regions(classes, region_table(index, scheme)).float() * 20 - 10
    else:
        logits = F.one_hot(classes[:, 0].long(), len(scheme.names) + 1).movedim(-1, 1).float() * 20 - 10
    return labels_on_source(logits[0], case.geometry, scheme, head), read_mask(record.mask)


def assert_comes_back(index, head, values):
    """Perfect logits are written as the reference, which holds all of these values."""
    scheme = index.region_scheme() if head == "sigmoid" else index.label_scheme()
    written, reference = round_trip(index, scheme, head)
    assert set(np.unique(reference)) == values
    np.testing.assert_array_equal(written, reference)


@pytest.mark.parametrize(("year", "values"), [(2018, (2, 1, 4)), (2021, (2, 1, 4)), (2023, (2, 1, 3))])
@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_brats_labels_come_back_as_they_were(tmp_path, write_brats, year, values, head):
    assert_comes_back(index_brats(write_brats(tmp_path, 2, year=year)), head, {0, *values})


def test_brats_after_surgery_comes_back_with_its_cavity(tmp_path, write_brats, write_volume):
    root = write_brats(tmp_path, 2, year=2024)
    first = index_brats(root).records[0]
    mask = np.zeros((16, 16, 16), np.uint8)
    for depth, value in enumerate((2, 1, 3), start=1):  # nested boxes
        mask[(slice(depth, 16 - depth),) * 3] = value
    mask[0, 0, :4] = 4
    write_volume(first.mask, mask, nib.load(first.mask).affine)
    assert_comes_back(index_brats(root), "sigmoid", {0, 1, 2, 3, 4})


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_decathlon_labels_come_back_as_they_were(tmp_path, write_decathlon, head):
    labels = ("edema", "non-enhancing tumor", "enhancing tumour")
    channels = ("FLAIR", "T1w", "t1gd", "T2w")
    root = write_decathlon(tmp_path, channels=channels, labels=labels)
    assert_comes_back(index_decathlon(root), head, {0, 1, 2, 3})


def test_nnunet_regions_come_back_as_they_were(tmp_path, write_nnunet):
    labels = {"background": 0, "whole": [1, 2, 5], "inner": [2, 5], "core": 5}
    root = write_nnunet(tmp_path / "Dataset001_X", labels=labels, more={"regions_class_order": [1, 2, 5]})
    assert_comes_back(index_nnunet(root), "sigmoid", {0, 1, 2, 5})


def test_a_resampled_case_comes_back_on_its_own_grid(tmp_path, write_decathlon):
    index = index_decathlon(write_decathlon(tmp_path, shape=(12, 20, 18)))
    written, reference = round_trip(index, index.label_scheme(), "softmax", spacing_mm=(1.0, 1.0, 1.0))
    assert written.shape == reference.shape == (12, 20, 18)
    assert (written == reference).mean() > 0.97  # linear resampling there and back moves some border voxels


# ---- deep supervision -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "losses", "expected"),
    [
        ((8, 4, 2, 1), (1.0, 2.0, 3.0), (1 + 2 / 2 + 3 / 4) / 1.75),  # the coarsest counts nothing
        ((4, 2), (1.0, 4.0), (1 + 4 / 2) / 1.5),  # but two levels both count
    ],
)
def test_levels_weigh_half_of_the_finer_one(sizes, losses, expected):
    left, seen = iter(losses), []

    def loss(logits, mask):
        seen.append(tuple(mask.shape[2:]))
        return torch.tensor(next(left))

    levels = [torch.zeros(1, 1, n, n, n) for n in sizes]
    found = deep_supervision(loss, levels, torch.zeros(1, 1, *[sizes[0]] * 3))
    assert float(found) == pytest.approx(expected)
    assert seen == [(n, n, n) for n in sizes[: len(losses)]]


def test_every_level_gets_a_gradient_though_the_coarsest_counts_nothing():
    torch.manual_seed(0)
    heads = nn.ModuleList(nn.Conv3d(1, 3, 1) for _ in range(4))
    image, mask = torch.randn(1, 1, 8, 8, 8), torch.randint(0, 3, (1, 1, 8, 8, 8))
    levels = [head(F.avg_pool3d(image, 2**number)) for number, head in enumerate(heads)]
    loss = deep_supervision(DiceCELoss(), levels, mask)
    loss.backward()
    for number, head in enumerate(heads):
        for parameter in head.parameters():
            # None would make DistributedDataParallel raise at the second step.
            assert bool(parameter.grad.any()) == (number < 3)
    alone = deep_supervision(DiceCELoss(), [level.detach() for level in levels], mask)
    assert float(loss) == float(alone)


@pytest.mark.parametrize(("shape", "small"), [((8, 8, 8), (4, 2, 8)), ((9, 7, 5), (3, 4, 2))])
def test_masks_shrink_to_their_nearest_voxel(shape, small):
    mask = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8)
    expected = F.interpolate(mask.float(), small, mode="nearest-exact").to(torch.uint8)
    assert torch.equal(shrink(mask, small), expected)
    assert shrink(mask, shape) is mask


# ---- networks -------------------------------------------------------------------------------------


def networks():
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
    from monai.networks.nets import DynUNet, SegResNet, SwinUNETR

    three = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    dyn, deep = {"filters": [4, 8, 8], **three}, {"deep_supervision": True}
    plain = {
        "input_channels": 1, "num_classes": 3, "n_stages": 3, "features_per_stage": [4, 8, 8], "kernel_sizes": 3,
        "strides": [1, 2, 2], "n_conv_per_stage_decoder": [1] * 2, "conv_op": nn.Conv3d, "conv_bias": True,
        "norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"affine": True}, "nonlin": nn.LeakyReLU, **deep,
    }  # fmt: skip
    return {
        "DynUNet": (lambda: DynUNet(3, 1, 3, **dyn), 1),
        "DynUNet deep": (lambda: DynUNet(3, 1, 3, deep_supr_num=1, **dyn, **deep), 2),
        "SegResNet": (lambda: SegResNet(3, 8, 1, 3, blocks_down=[1, 1], blocks_up=[1]), 1),
        "SwinUNETR": (lambda: SwinUNETR(1, 3, depths=[1] * 4, num_heads=[1] * 4, feature_size=12), 1),
        "PlainConvUNet": (lambda: PlainConvUNet(n_conv_per_stage=[1] * 3, **plain), 2),
        "ResidualEncoderUNet": (lambda: ResidualEncoderUNet(n_blocks_per_stage=[1] * 3, **plain), 2),
    }


@pytest.mark.parametrize("name", list(networks()))
def test_each_network_trains_a_step_and_infers(name, make_task, make_trainer):
    build, levels = networks()[name]
    torch.manual_seed(0)
    # A Swin transformer halves five times, and its norms need more than one voxel in the end.
    shape = (64, 32, 32) if name == "SwinUNETR" else (16, 16, 16)
    window = SlidingWindowInferer(roi_size=shape)
    task = make_task(build(), inferer=window)
    task.trainer = make_trainer()
    task.trainer.state.fn = "test"
    image = torch.randn(1, 1, *shape)
    mask = torch.randint(0, 3, (1, 1, *shape), dtype=torch.uint8)
    task.train()
    outputs = task.network(image)
    if isinstance(outputs, torch.Tensor):
        outputs = outputs.unbind(1) if outputs.ndim == 6 else [outputs]
    assert len(outputs) == levels
    losses = []
    task.log = lambda *args, **options: None
    optimizer = AdamW(task.parameters(), lr=0.01)
    for _ in range(2):
        loss = task.training_step({keys.IMAGE: image, keys.MASK: mask}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[1] < losses[0]
    task.eval()
    with torch.no_grad():
        logits = task.infer(image[..., :-3])
    assert logits.shape == (1, 3, *shape[:2], shape[2] - 3)
    assert logits.isfinite().all()


# ---- what is refused ------------------------------------------------------------------------------


def test_classes_must_be_the_datas(make_task, make_data, make_trainer):
    task = make_task(classes=["posterior", "anterior"])
    with pytest.raises(ConfigError, match=r"\['posterior', 'anterior'\] and the data's are \['anterior'"):
        make_trainer().fit(task, datamodule=make_data())


def test_a_network_with_other_channels_is_refused(make_task, make_data, make_trainer):
    with pytest.raises(ConfigError, match="gives 2 channels and 2 classes under softmax need 3"):
        make_trainer().fit(make_task(nn.Conv3d(1, 2, 1)), datamodule=make_data())


def test_weights_for_other_classes_are_refused(make_task):
    checkpoint = {}
    make_task().on_save_checkpoint(checkpoint)
    assert checkpoint == {"medimg_classes": ["anterior", "posterior"]}
    make_task().on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="trained for the classes"):
        make_task(classes=["a", "b"]).on_load_checkpoint(checkpoint)


def test_a_checkpoint_knows_its_data(make_task, make_data, make_trainer, tmp_path):
    saver = ModelCheckpoint(tmp_path / "ckpt", filename="last", enable_version_counter=False)
    trainer = make_trainer(callbacks=[saver], enable_checkpointing=True)
    trainer.fit(make_task(), datamodule=make_data(fold=0))
    again = {"ckpt_path": tmp_path / "ckpt" / "last.ckpt", "weights_only": True}
    # 56: resumed with other data or classes.
    for said, other in {
        r"split: .* in the checkpoint": make_data(fold=1),
        "data: Task4 in the checkpoint, Task6 now": make_data(6),
    }.items():
        with pytest.raises(CheckpointError, match=said):
            make_trainer(max_epochs=2).fit(make_task(), datamodule=other, **again)
    # The cases to be scored were trained on.
    for verb in ("test", "validate"):
        with pytest.raises(CheckpointError, match=r"was trained on 2 of the 2 cases"):
            getattr(make_trainer(), verb)(make_task(), datamodule=make_data(fold=1), verbose=False, **again)
    make_trainer().test(make_task(), datamodule=make_data(), verbose=False, **again)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(make_task(), datamodule=make_data(), **again)
    assert trainer.current_epoch == 2
    assert trainer.global_step == 4


# ---- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD poly", "AdamW cosine", "plateau", "focal"])
def test_it_learns_boxes(name, make_task, make_data, make_trainer):
    torch.manual_seed(0)
    recipe = {
        "SGD poly": {
            "optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
            "scheduler": PolynomialSchedule(),
        },
        "AdamW cosine": {"optimizer": lambda p: AdamW(p, lr=0.03), "scheduler": CosineSchedule(warmup=0.1)},
        "plateau": {"scheduler": lambda o: ReduceLROnPlateau(o, "val/loss", patience=0)},
        "focal": {"loss": DiceFocalLoss()},
    }[name]
    data = make_data(patches=PatchOptions((16, 16, 16), batch_size=2, batches_per_epoch=25))
    trainer = make_trainer(max_epochs=3, gradient_clip_val=1.0)
    trainer.fit(make_task(**recipe), datamodule=data)
    assert trainer.callback_metrics["val/dice"] > 0.6
    assert 0 < trainer.callback_metrics["val/loss"] < 1.5


def test_regions_learn_too_in_bfloat16(make_region_task, make_brats, make_trainer):
    torch.manual_seed(0)
    data = make_brats(patches=PatchOptions((16, 16, 16), batch_size=2, batches_per_epoch=15))
    trainer = make_trainer(max_epochs=2, precision="bf16-mixed")
    trainer.fit(make_region_task(), datamodule=data)
    found = trainer.callback_metrics
    assert found["val/dice_WT"] > 0.6
    mean = torch.stack([found[f"val/dice_{name}"] for name in ("WT", "TC", "ET")]).mean()
    assert float(found["val/dice"]) == pytest.approx(float(mean))


def test_accumulated_batches_make_one_step(make_task, make_data, make_trainer):
    data = make_data(patches=PatchOptions((16, 16, 16), batch_size=1, batches_per_epoch=4))
    trainer = make_trainer(accumulate_grad_batches=2)
    trainer.fit(make_task(), datamodule=data)
    assert trainer.global_step == 2


def test_averaged_weights_are_those_that_are_validated(make_task, make_data, make_trainer):
    torch.manual_seed(0)
    trainer = make_trainer(callbacks=[EMAWeightAveraging(decay=0.9)])
    task = make_task()
    before = [parameter.detach().clone() for parameter in task.network.parameters()]
    trainer.fit(task, datamodule=make_data())
    # After the fit the task holds the average, which lags behind the start by little.
    pairs = zip(before, task.network.parameters(), strict=True)
    moved = max(float((a - b).detach().abs().max()) for a, b in pairs)
    assert 0 < moved < 0.01 * trainer.global_step


def test_early_stopping_reads_the_logged_dice(make_task, make_data, make_trainer):
    stopper = EarlyStopping("val/dice", mode="max", patience=1, min_delta=2.0)
    trainer = make_trainer(max_epochs=9, callbacks=[stopper])
    trainer.fit(make_task(), datamodule=make_data())
    assert trainer.current_epoch < 4


# ---- scoring --------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Reads the label off the brightness that the fake cases give it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        index = (image[:, 0] > 150).long() + (image[:, 0] > 250).long()
        return F.one_hot(index, 3).movedim(-1, 1).float() * 10


@pytest.fixture
def oracle(make_task):
    return make_task(Oracle())


def untouched(make_data, **options):
    return make_data(preparation=Preparation(normalization=("none",), orientation=None), **options)


def test_a_perfect_network_scores_one_everywhere(oracle, make_data, make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.test(oracle, datamodule=untouched(make_data), verbose=False)
    with (tmp_path / "run" / "test" / "per_case.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        for name in ("anterior", "posterior"):
            assert float(row[f"dice_{name}"]) > 0.99
            assert float(row[f"nsd_{name}"]) > 0.99
            assert float(row[f"hd95_{name}"]) < 1e-6
    summary = json.loads((tmp_path / "run" / "test" / "summary.json").read_text())
    assert summary["title"] == "test: validation cases of fold 0 (the data set has no labelled test split)"
    settings = {"empty": "brats", "nsd_tolerance_mm": 1.0, "hd95": "area", "checkpoint": "None"}
    assert summary["settings"] == settings


def test_validate_scores_on_the_files_and_fit_does_not(oracle, make_task, make_data, make_trainer, tmp_path):
    make_trainer().validate(oracle, datamodule=untouched(make_data), verbose=False)
    assert (tmp_path / "run" / "validate" / "summary.json").is_file()
    task = make_task(oracle.network, loss=_Flat(), optimizer=lambda p: SGD(p, lr=0.0))
    make_trainer(default_root_dir=tmp_path / "fit").fit(task, datamodule=untouched(make_data))
    assert not list((tmp_path / "fit").rglob("summary.json"))


class _Flat(DiceCELoss):
    """A loss with a gradient for a network that has none."""

    def forward(self, logits, target):
        return super().forward(logits, target).detach().requires_grad_()


def test_predict_gives_labels_on_the_files_grid(oracle, make_data, make_trainer):
    data = untouched(make_data)
    found = make_trainer().predict(oracle, datamodule=data, return_predictions=True)
    index = data.read_index(data.root)
    assert len(found) == len(index.records) + len(index.unlabelled)
    for outputs, record in zip(found, index.records, strict=False):
        truth = read_mask(record.mask)
        assert (outputs["labels"][0] == truth).mean() > 0.999


def test_the_final_inferer_is_kept_for_the_end(make_task, make_data, make_trainer):
    class Counting(SlidingWindowInferer):
        calls = 0

        def __call__(self, *args, **options):
            type(self).calls += 1
            return super().__call__(*args, **options)

    class Final(Counting):
        calls = 0

    task, data = make_task(inferer=Counting((16,) * 3), final_inferer=Final((16,) * 3)), make_data()
    make_trainer().fit(task, datamodule=data)
    assert (Counting.calls, Final.calls) == (2, 0)
    make_trainer().test(task, datamodule=data, verbose=False)
    assert (Counting.calls, Final.calls) == (2, 2)


def test_raw_and_stored_cases_get_the_same_labels(make_task, make_data, make_trainer, tmp_path):
    torch.manual_seed(0)
    task = make_task().eval()
    data = make_data()
    data.prepare_data()
    data.setup("test")
    index = data.read_index(data.root)
    held = [record for record in index.records if record.case_id in data.split.val]
    raw = RawCaseDataset(index, held, data.preparation, data.scheme)
    task.trainer = make_trainer()
    task.trainer.state.fn = "test"
    with torch.no_grad():
        for stored, sample in zip(data.test_dataloader(), raw, strict=True):
            a, b = task.infer(stored[keys.IMAGE]), task.infer(sample[keys.IMAGE][None])
            torch.testing.assert_close(a, b, rtol=1e-2, atol=2e-2)
