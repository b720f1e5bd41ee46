"""transformers: models for semantic segmentation, saved as it saves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.torch import load_network
from pladapt.torch.steps import Channels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.networks]

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL = {
    "num_channels": 1,
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "hidden_sizes": [8, 16],
    "sr_ratios": [2, 1],
    "patch_sizes": [3, 3],
    "strides": [2, 2],
    "num_attention_heads": [1, 1],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 8,
    "id2label": {0: "background", 1: "organ", 2: "lesion"},
}


def segformer(**options: Any) -> torch.nn.Module:
    config = transformers.SegformerConfig(**(SMALL | options))
    return transformers.SegformerForSemanticSegmentation(config).eval()


def test_logits_are_resized_to_the_images(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    model = segformer()
    model.save_pretrained(tmp_path / "model")
    network = load_network(f"transformers:{tmp_path}/model")
    batch = images(2, 1, 32, 48)
    own = model(batch).logits
    assert own.shape == (2, 3, 16, 24)
    expected = interpolate(own, size=(32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network.module(batch), expected)
    assert network.classes == ("background", "organ", "lesion")
    assert network.channels == 1


def test_what_its_image_processor_does_is_told(tmp_path: Path) -> None:
    segformer(num_channels=3).save_pretrained(tmp_path / "model")
    (tmp_path / "model/preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1],'
        ' "do_rescale": true, "size": {"height": 64, "width": 64}}'
    )
    told = load_network(f"transformers:{tmp_path}/model").preprocessing
    assert told["image_mean"] == [0.5, 0.5, 0.5]
    assert told["library"] == "transformers"


def test_a_picture_is_prepared_as_its_image_processor_does(tmp_path: Path) -> None:
    segformer(num_channels=3).save_pretrained(tmp_path / "model")
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 48})
    processor.save_pretrained(tmp_path / "model")
    network = load_network(f"transformers:{tmp_path}/model")
    assert (network.preparation.size, network.notes) == ((64, 48), ())
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 48), dtype=np.uint8)
    own = processor(picture, return_tensors="pt", input_data_format="channels_first")
    made = network.prepared.prepare(torch.from_numpy(picture)[None].float())
    torch.testing.assert_close(made, own["pixel_values"], rtol=1e-4, atol=1e-4)
    assert network.prepared(torch.rand(1, 3, 90, 70) * 255).shape == (1, 3, 90, 70)


def test_what_an_image_processor_does_and_cannot_be_done_is_said(tmp_path: Path) -> None:
    segformer(num_channels=3).save_pretrained(tmp_path / "model")
    (tmp_path / "model/preprocessor_config.json").write_text(
        '{"do_center_crop": true, "size": {"longest_edge": 64}, "do_flip_channel_order": true}'
    )
    network = load_network(f"transformers:{tmp_path}/model")
    (note,) = network.notes
    assert "longest_edge" in note
    assert "do_center_crop" in note
    assert Channels((2, 1, 0)) in network.preparation.steps


def test_a_head_that_was_never_trained_is_no_model(tmp_path: Path) -> None:
    encoder = transformers.SegformerModel(transformers.SegformerConfig(**SMALL))
    encoder.save_pretrained(tmp_path / "encoder")
    with pytest.raises(DataError, match=r"missing_keys.*decode_head.*would be random"):
        load_network(f"transformers:{tmp_path}/encoder")


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=32,
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    with pytest.raises(InputError, match="no model for semantic segmentation"):
        load_network(f"transformers:{tmp_path}/vit")
    with pytest.raises(MissingDataError, match="are not fetched"):
        load_network("transformers:nvidia/mit-b0")
