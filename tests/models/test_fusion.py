"""Several inputs, any of them missing: counts, shapes, what a missing input may and may not change, and exports."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medimg.commands.export_network import difference_of, trace, write
from medimg.errors import ConfigError
from medimg.models import (
    ConcatFusion,
    CrossAttentionFusion,
    FusionClassifier,
    GatedFusion,
    ResNet3D,
    TableEncoder,
    TimmClassifier,
)
from medimg.models.fusion import INPUTS, drop_some

FUSIONS = [ConcatFusion, GatedFusion, CrossAttentionFusion]


class Means(nn.Module):
    """Mean and spread of each channel: the cheapest encoder."""

    def __init__(self, channels=1):
        super().__init__()
        self.num_features = 2 * channels

    def features(self, image):
        flat = image.flatten(2)
        return torch.cat([flat.mean(2), flat.std(2)], 1)


class WithHead(Means):
    """The same with a layer that learns, and a head that a fusion does not ask."""

    def __init__(self, channels=1):
        super().__init__(channels)
        self.line = nn.Linear(2 * channels, 2 * channels)
        self.head_module = nn.Linear(2 * channels, 5)

    def features(self, image):
        return self.line(super().features(image))


def table():
    return TableEncoder(["age", "marker"], {"sex": ["F", "M"]}, width=12)


def make(fusion=ConcatFusion, **options):
    torch.manual_seed(0)
    branches = {"table": table(), "image": Means(), "image_2": Means(2)}
    return FusionClassifier(branches, 2, fusion=fusion, width=16, **options)


def batch(size=4):
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(size, 1, 6, 5, generator=generator),
        "image_2": torch.randn(size, 2, 4, 6, 5, generator=generator),
        "table": torch.randn(size, 2, generator=generator),
        "category": torch.randint(0, 4, (size, 1), generator=generator),
    }


def having(size, *names):
    present = torch.zeros(size, 4, dtype=torch.bool)
    present[:, [INPUTS.index(name) for name in names]] = True
    return present


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_input_is_not_read_and_the_others_are(fusion):
    network, inputs = make(fusion).eval(), batch()
    with torch.no_grad():
        whole = network(**inputs)
        assert whole.shape == (4, 2)
        for name in network.branches:
            rest = [other for other in network.branches if other != name]
            without = network(**inputs, present=having(4, *rest))
            changed = {**inputs, name: inputs[name] + 100}
            assert_close(network(**changed, present=having(4, *rest)), without, atol=0, rtol=0)
            assert_close(network(**{**inputs, name: None}), without)  # not given: missing in every case
            assert (network(**changed) - whole).abs().max() > 1e-4
            assert (without - whole).abs().max() > 1e-4


@pytest.mark.parametrize("fusion", FUSIONS)
def test_cases_of_one_batch_do_not_touch_each_other(fusion):
    network, inputs = make(fusion).eval(), batch(8)
    present = torch.tensor(list(itertools.product([True, False], repeat=3)))
    present = torch.cat([present, torch.zeros(8, 1, dtype=torch.bool)], 1)
    with torch.no_grad():
        together = network(**inputs, present=present)
        for at in range(8):
            alone = network(**{k: v[at : at + 1] for k, v in inputs.items()}, present=present[at : at + 1])
            assert_close(together[at], alone[0])
    assert together.isfinite().all()  # also of the last case, which has nothing


def test_gates_of_missing_inputs_are_shut_and_attention_does_not_see_them():
    tokens, present = torch.randn(2, 3, 8), torch.tensor([[True, True, False]] * 2)
    for fusion in (GatedFusion(3, 8), CrossAttentionFusion(3, 8, heads=2, depth=2)):
        fusion.eval()
        stand_in = tokens.clone()
        stand_in[:, 2] += 1
        same = torch.allclose(fusion(tokens, present), fusion(stand_in, present), atol=1e-6)
        # A stand-in may turn the gates of the others, never be let through; attention leaves it out altogether.
        assert same == isinstance(fusion, CrossAttentionFusion)
    gated = GatedFusion(3, 8).eval()
    nn.init.zeros_(gated.gates.weight)
    nn.init.zeros_(gated.gates.bias)  # every gate half open
    expected = 0.5 * (gated.values[0](tokens[:, 0]).tanh() + gated.values[1](tokens[:, 1]).tanh())
    assert_close(gated(tokens, present), expected)


def test_modality_dropout_never_takes_all_and_takes_as_often_as_asked():
    torch.manual_seed(0)
    present = torch.ones(20_000, 2, dtype=torch.bool)
    kept = drop_some(present, 0.3)
    assert kept.any(1).all()
    # One by one 0.3 are dropped; both would be in 0.09, where either one of them stays.
    assert float((~kept[:, 0]).float().mean()) == pytest.approx(0.3 - 0.09 / 2, abs=0.01)
    lone = torch.tensor([[True, False, False], [False, False, False]]).repeat(50, 1)
    assert torch.equal(drop_some(lone, 0.9), lone)


def test_dropout_is_of_training_alone():
    network, inputs = make(modality_dropout=0.5), batch()
    network.train()
    torch.manual_seed(0)
    assert len({round(float(network(**inputs).detach().sum()), 4) for _ in range(8)}) > 2
    network.eval()
    assert_close(network(**inputs), network(**inputs))


def test_missing_images_do_not_move_batch_norm():
    torch.manual_seed(0)
    encoder = TimmClassifier("test_resnet", 0, in_channels=1)
    network = FusionClassifier({"image": encoder, "table": table()}, 1, modality_dropout=0).train()
    image = torch.randn(6, 1, 32, 32)
    image[2:] = 1000  # of cases that have none
    present = having(6, "table")
    present[:2, 0] = True
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    network(image=image, table=torch.randn(6, 2), present=present)
    assert norms[0].running_mean.abs().max() < 1
    network(image=image[:3], table=torch.randn(3, 2), present=present[:3])  # a batch in which two have one


def test_volumes_are_encoded_by_the_3d_network():
    branches = {
        "image": TimmClassifier("test_resnet", 0, in_channels=1),
        "image_2": ResNet3D(10, widen=0.125),
    }
    network = FusionClassifier(branches, 2).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 1, 40, 33), torch.randn(2, 1, 16, 17, 18)).shape == (2, 2)


@pytest.mark.parametrize("size", [(32, 32), (40, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_in_bf16_on_images_volumes_and_a_table(size, channels):
    torch.manual_seed(0)
    branches = {
        "image": TimmClassifier("test_resnet", 0, in_channels=channels),
        "image_2": WithHead(channels),
        "table": table(),
    }
    network = FusionClassifier(branches, 3, fusion=CrossAttentionFusion, width=16).train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    before = {name: p.clone() for name, p in network.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(
            image=torch.randn(6, channels, *size),
            image_2=torch.randn(6, channels, 8, 9, 8),
            table=torch.randn(6, 2),
            category=torch.ones(6, 1, dtype=torch.int64),
        )
        loss = logits.float().square().sum()
    loss.backward()
    optimizer.step()
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert any(name.startswith("branches.image.") for name in moved)
    assert any(name.startswith("branches.image_2.line") for name in moved)
    # A head is not asked, and does not wait for gradients.
    assert not any("image_2.head_module" in name for name in moved)
    assert not any(p.requires_grad for p in branches["image_2"].head_module.parameters())


def test_parameters_are_those_of_the_parts():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    network = make()
    assert count(network) == (
        count(table())
        + (2 * 12 + 13 * 16)  # norm and projection of the table
        + (2 * 2 + 3 * 16)  # of the image
        + (2 * 4 + 5 * 16)  # of the second one
        + 3 * 16  # stand-ins
        + (3 * 16 + 1) * 16  # what joins
        + 17 * 2  # head
    )
    assert count(GatedFusion(3, 16)) == 3 * 17 * 16 + 49 * 48
    # As a layer of torch's transformer with twice the width inside, and what tells the inputs apart.
    layer = nn.TransformerEncoderLayer(16, 4, 32)
    assert count(CrossAttentionFusion(3, 16)) == count(layer) + 3 * 16 + 2 * 16


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours = CrossAttentionFusion(3, 16).eval()
    torchs = nn.TransformerEncoderLayer(
        16, 4, 32, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    (one,) = ours.rounds
    torchs.self_attn.in_proj_weight.data = torch.cat([one.ask.weight, one.answer.weight])
    torchs.self_attn.in_proj_bias.data = torch.cat([one.ask.bias, one.answer.bias])
    pairs = [
        (torchs.self_attn.out_proj, one.out),
        (torchs.linear1, one.layer[0]),
        (torchs.linear2, one.layer[2]),
    ]
    for theirs, own in [*pairs, (torchs.norm1, one.before), (torchs.norm2, one.between)]:
        theirs.load_state_dict(own.state_dict())
    tokens, present = torch.randn(5, 3, 16), torch.rand(5, 3) > 0.4
    present[:, 1] = True
    with torch.no_grad():
        found = torchs(tokens + ours.names, src_key_padding_mask=~present)
        weight = present[..., None].float()
        expected = ours.norm((found * weight).sum(1) / weight.sum(1))
        assert_close(ours(tokens, present), expected, atol=1e-5, rtol=1e-4)


def test_saved_and_loaded_it_gives_the_same(tmp_path):
    network, inputs = make(GatedFusion).eval(), batch()
    network.branches["table"].fit(torch.tensor([[4.0, 1.0], [8.0, 3.0]]))
    network.note_shapes({"image": (1, 6, 5), "image_2": (2, 4, 6, 5)})
    torch.save(network.state_dict(), tmp_path / "a.pt")
    other = make(GatedFusion).eval()
    other.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    assert_close(other(**inputs), network(**inputs), atol=0, rtol=0)
    assert other.example_inputs()["image_2"].shape == (2, 2, 4, 6, 5)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_exported_it_gives_the_same(format, fusion, tmp_path):
    network = make(fusion).eval()
    network.note_shapes({"image": (1, 6, 5), "image_2": (2, 4, 6, 5)})
    inputs = network.example_inputs()
    assert not inputs["present"].all()
    assert inputs["table"].isnan().any()
    path = tmp_path / "network"
    write(trace(network, inputs), path, format)
    assert difference_of(path, format, lambda given: network(**given), inputs) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_exported_with_encoders_and_text_it_gives_the_same(format, tmp_path):
    from medimg.models import TextEncoder

    torch.manual_seed(0)
    branches = {
        "image": TimmClassifier("test_resnet", 0, in_channels=1),
        "table": table(),
        "text": TextEncoder(),
    }
    network = FusionClassifier(branches, 1).eval()
    network.note_shapes({"image": (1, 32, 32), "text": (16,)})
    inputs = network.example_inputs()
    path = tmp_path / "network"
    write(trace(network, inputs), path, format)
    assert difference_of(path, format, lambda given: network(**given), inputs) < 1e-4


REFUSED = [
    ({}, {}, "branches: expected some of image, image_2, table, text, found none"),
    ({"mri": Means()}, {}, "found mri"),
    ({"table": Means()}, {}, r"branches\.table: expected a TableEncoder, found Means"),
    ({"text": Means()}, {}, r"branches\.text: expected a TextEncoder, found Means"),
    ({"image": nn.Conv2d(1, 1, 1)}, {}, "Conv2d hands over no features"),
    (
        {"image": Means()},
        {"modality_dropout": 1.0},
        r"modality_dropout: expected a chance in \[0, 1\), found 1\.0",
    ),
]


@pytest.mark.parametrize(("branches", "options", "said"), REFUSED, ids=[said[:24] for *_, said in REFUSED])
def test_what_is_no_branch_is_refused(branches, options, said):
    with pytest.raises(ConfigError, match=said):
        FusionClassifier(branches, 1, **options)


def test_what_cannot_be_answered_is_refused():
    with pytest.raises(ConfigError, match="takes image, image_2, table, and the batch has none of them"):
        make()(text=torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ConfigError, match="the size of image is not known before"):
        make().example_inputs()
    with pytest.raises(ConfigError, match="heads: expected a divisor of the width 10, found 4"):
        CrossAttentionFusion(2, 10)
