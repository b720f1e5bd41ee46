from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from pladapt import DataError, InputError
from pladapt.errors import MissingDataError
from pladapt_covid_ct.model import build_model


@pytest.fixture(scope="module")
def colour_encoder():
    """An encoder for colour pictures, with the first layer that ImageNet weights have."""
    torch.manual_seed(7)
    return smp.encoders.get_encoder("resnet18", in_channels=3, weights=None).eval()


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def test_the_paper_s_network_has_one_channel_in_and_one_out():
    model = build_model(weights="none").eval()
    assert sum(p.numel() for p in model.parameters()) == 21_765_665
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 1, 64, 64)


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, same, other = (build_model("resnet18", "none", seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    first = [next(iter(m.parameters())) for m in (one, same, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_gives_a_grey_slice_what_a_grey_picture_gets(tmp_path, colour_encoder, suffix):
    path = tmp_path / f"resnet18{suffix}"
    state = weights(colour_encoder)
    if suffix == ".pth":  # as torchvision publishes them, with the classifier
        torch.save(state | {"fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}, path)
    else:
        save_file(state, path)
    model = build_model("resnet18", str(path)).eval()
    grey = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        expected = colour_encoder(grey.expand(1, 3, 32, 32))[-1]
        torch.testing.assert_close(model.encoder(grey)[-1], expected, atol=1e-4, rtol=1e-4)


def test_tensors_under_other_names_are_matched_by_order(tmp_path, colour_encoder):
    path = tmp_path / "weights.pth"
    renamed = {f"layer{i}": t for i, t in enumerate(weights(colour_encoder).values())}
    torch.save(renamed, path)
    model = build_model("resnet18", str(path))
    own = list(model.encoder.state_dict().values())
    assert torch.equal(own[1], renamed["layer1"])


def test_weights_of_another_encoder_are_refused(tmp_path, colour_encoder):
    path = tmp_path / "weights.pth"
    torch.save(weights(colour_encoder), path)
    with pytest.raises(DataError, match="does not hold this encoder's weights"):
        build_model("resnet34", str(path))


def test_a_truncated_file_is_refused(tmp_path, colour_encoder):
    path = tmp_path / "weights.pth"
    torch.save(weights(colour_encoder), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="fetch it again"):
        build_model("resnet18", str(path))


def test_a_missing_file_and_an_unknown_encoder_are_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"nothing\.pth"):
        build_model("resnet18", str(tmp_path / "nothing.pth"))
    with pytest.raises(InputError, match="resnet35"):
        build_model("resnet35", "none")


def test_an_unreachable_hub_says_what_to_do(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(smp, "Linknet", refuse)
    with pytest.raises(MissingDataError, match="--encoder-weights FILE"):
        build_model("resnet18", "imagenet")
