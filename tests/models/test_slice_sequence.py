"""Studies from slices: neighbours of the same study only, bounded memory, the same answer in any batch."""

import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import TimmClassifier
from medimg.models.sequence_heads import AttentionSequence, GRUSequence, SlicesAlone
from medimg.models.slice_sequence import FeatureSequence, SliceSequence, neighbour_rows

SEQUENCES = {
    "alone": lambda: SlicesAlone(16),
    "gru": lambda: GRUSequence(8, 1, dim=16),
    "attention": lambda: AttentionSequence(16, 2, 1),
}


def tiny(sequence="gru", channels=1, neighbours=1, **options):
    encoder = TimmClassifier("test_efficientnet", 0, in_channels=channels * (2 * neighbours + 1))
    return SliceSequence(encoder, 3, 2, neighbours=neighbours, sequence=SEQUENCES[sequence](), **options)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_efficientnet_and_gru_have_the_parameters_of_their_formulas():
    with torch.device("meta"):
        encoder = TimmClassifier("tf_efficientnet_lite0", 0, in_channels=9)
        network = SliceSequence(encoder, 9, 1, sequence=GRUSequence(128, 1, dim=256))
    without_head = 4_652_008 - 1000 * 1281  # of the library's table
    project = 2 * 1280 + 256 * 1281
    gru = 2 * 3 * 128 * (256 + 128 + 2)
    attention = 128 * 257 + 129
    assert count(network) == without_head + 6 * 32 * 9 + project + gru + attention + 9 * (3 * 256 + 1) + 257


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_study_is_answered_alike_in_any_batch(sequence):
    torch.manual_seed(0)
    network = tiny(sequence, chunk=32).eval()
    sizes = torch.tensor([1, 4, 130, 2])
    slices = torch.randn(137, 1, 16, 16)
    with torch.no_grad():
        studies, images = network(slices, sizes)
        alone = [network(part) for part in slices.split(sizes.tolist())]
    assert studies.shape == (4, 3)
    assert images.shape == (137, 2)
    assert_close(studies, torch.cat([study for study, _ in alone]), atol=1e-5, rtol=0)
    assert_close(images, torch.cat([image for _, image in alone]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (33, 50)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("neighbours", [0, 2])
def test_any_size_any_channels_any_neighbours(size, channels, neighbours):
    network = tiny(channels=channels, neighbours=neighbours).eval()
    with torch.no_grad():
        studies, images = network(torch.randn(5, channels, *size), torch.tensor([2, 3]))
    assert studies.shape == (2, 3)
    assert images.shape == (5, 2)


def test_neighbours_never_come_from_another_study():
    rows = neighbour_rows(torch.zeros(6), torch.tensor([1, 3, 2]), 2)
    assert rows.tolist() == [
        [0] * 5,
        [1, 1, 1, 2, 3],
        [1, 1, 2, 3, 3],
        [1, 2, 3, 3, 3],
        [4, 4, 4, 5, 5],
        [4, 4, 5, 5, 5],
    ]
    assert torch.equal(neighbour_rows(torch.zeros(3), None, 2), rows[1:4] - 1)


def test_the_encoder_sees_before_itself_and_behind_channel_by_channel():
    network = tiny(channels=2)
    seen = []
    network.encoder.features = lambda image: (
        seen.append(image) or torch.zeros(len(image), network.encoder.num_features)
    )
    slices = torch.arange(4.0).view(4, 1, 1, 1) * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1)
    network(slices, torch.tensor([3, 1]))
    assert seen[0][:, :, 0, 0].tolist() == [
        [0, 0, 0, 0, 1, 10], [0, 0, 1, 10, 2, 20], [1, 10, 2, 20, 2, 20], [3, 30] * 3,
    ]  # fmt: skip


def test_chunks_change_neither_answers_nor_gradients():
    torch.manual_seed(0)
    whole = tiny(drop_rate=0.0)
    chunked = tiny(drop_rate=0.0, chunk=3)
    chunked.load_state_dict(whole.state_dict())
    slices, sizes = torch.randn(10, 1, 16, 16), torch.tensor([6, 4])
    seen = []
    features = chunked.encoder.features
    chunked.encoder.features = lambda image: seen.append(len(image)) or features(image)
    answers = []
    for network in (whole, chunked):
        network.train()
        network.encoder.eval()  # statistics of a batch are those of what is seen at once
        studies, images = network(slices, sizes)
        (studies.sum() + images.square().sum()).backward()
        answers.append(studies)
    assert_close(answers[1], answers[0])
    assert seen == [3, 3, 2, 2, 2, 2, 3, 3]  # there, and again on the way back
    for one, other in zip(whole.parameters(), chunked.parameters(), strict=True):
        if one.requires_grad:
            assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4)


def test_what_is_computed_again_moves_no_running_statistics():
    network = tiny(chunk=4).train()
    studies, _ = network(torch.randn(8, 1, 16, 16), torch.tensor([8]))
    before = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
    studies.sum().backward()
    assert before and all(torch.equal(value, network.get_buffer(name)) for name, value in before.items())
    assert network.encoder.body.bn1.momentum > 0


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_step_under_bfloat16_reaches_every_parameter_and_lowers_the_loss(sequence):
    torch.manual_seed(0)
    network = tiny(sequence, chunk=4)
    slices, sizes, target = (
        torch.randn(9, 1, 16, 16),
        torch.tensor([5, 4]),
        torch.tensor([[1.0] * 3, [0.0] * 3]),
    )
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.05), []
    for _ in range(10):  # batches of three slices make the first steps uneven
        with torch.autocast("cpu", torch.bfloat16):
            studies, images = network(slices, sizes)
        assert studies.dtype == images.dtype == torch.float32
        loss = torch.nn.functional.binary_cross_entropy_with_logits(studies, target) + images.square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert all(
            p.grad is not None and p.grad.isfinite().all() for p in network.parameters() if p.requires_grad
        )
        optimizer.step()
    assert losses[-1] < losses[0]


def test_a_head_of_the_encoder_takes_no_part():
    network = SliceSequence(TimmClassifier("test_efficientnet", 4), 1)
    assert not any(parameter.requires_grad for parameter in network.head_module.parameters())
    network(torch.randn(2, 1, 16, 16))[
        0
    ].sum().backward()  # every other parameter but that of slices has a gradient
    silent = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == ["head.image_head.weight", "head.image_head.bias"]


def test_saved_and_loaded_it_gives_the_same_logits(tmp_path):
    first, second = tiny().eval(), tiny().eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    slices = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(first(slices), second(slices), strict=True))


class Studies(torch.nn.Module):
    """A study's logits, as an exported file gives them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image)[0]


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["gru", "attention"])
def test_exported_features_of_any_number_of_slices_give_the_same_study(sequence):
    module = Studies(FeatureSequence(12, 3, sequence=SEQUENCES[sequence]())).eval()
    shapes = {"image": {0: torch.export.Dim.DYNAMIC}}
    with torch.no_grad():
        program = torch.export.export(module, (), {"image": torch.randn(4, 12)}, dynamic_shapes=shapes)
    for number in (1, 3, 60):
        features = torch.randn(number, 12)
        with torch.no_grad():
            assert_close(program.module()(image=features), module(features), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["gru", "attention"])
def test_the_file_of_onnx_takes_studies_of_any_number_of_slices(sequence, tmp_path):
    from medimg.commands.export_network import difference_of, trace, write

    network = tiny(sequence, chunk=2).eval()
    module, inputs = Studies(network).eval(), {"image": torch.randn(2, 1, 32, 32)}
    write(trace(module, inputs), tmp_path / "network.onnx", "onnx")
    answer = lambda drawn: network(drawn["image"])[0]  # noqa: E731
    assert difference_of(tmp_path / "network.onnx", "onnx", answer, inputs) < 1e-4


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ConfigError, match=r"1 channels with 1 neighbours on each side make 3 channels.*found 1"
    ):
        SliceSequence(TimmClassifier("test_efficientnet", 0, in_channels=1), 1)(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ConfigError, match="neighbours: expected 0 or more slices, found -1"):
        SliceSequence(TimmClassifier("test_efficientnet", 0), 1, neighbours=-1)
    with pytest.raises(ConfigError, match="chunk: expected 1 slice or more, or null, found 0"):
        tiny(chunk=0)
    with pytest.raises(ConfigError, match=r"features \(M, 12\) expected, found \(4, 13\): set in_features"):
        FeatureSequence(12, 1)(torch.zeros(4, 13))
