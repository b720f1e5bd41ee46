"""MONAI: the networks of bundles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.functional.surfaces import hd95, nsd, surface_distances
from pladapt.recipes import recipe
from pladapt.torch import Network, Preparation, Prepared, TrainingOptions, load_network
from pladapt.torch.steps import NormaliseEach
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.networks]

bundle = pytest.importorskip("monai.bundle", reason="monai is not installed")

UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": "@channels",
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
META = {
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 16, 16]}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}},
    }
}
CONFIG = {
    "channels": 1,
    "device": "$torch.device('cpu')",
    "network_def": UNET,
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged"}]},
}


def write(folder: Path, config: dict[str, Any] | None = None, name: str = "inference") -> Path:
    """Write a bundle as MONAI lays it out, with the weights that its own code saves."""
    from monai.networks.nets import UNet

    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / f"configs/{name}.json").write_text(json.dumps(config or CONFIG))
    (folder / "configs/metadata.json").write_text(json.dumps(META))
    options = {k: v for k, v in UNET.items() if k != "_target_"} | {"in_channels": 1}
    torch.save(UNet(**options).state_dict(), folder / "models/model.pt")
    return folder


def test_the_network_of_a_bundle_is_monai_s_own(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    folder = write(tmp_path / "spleen")
    network = load_network(f"monai-bundle:{folder}")
    parser = bundle.ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    own = parser.get_parsed_content("network_def").eval()
    own.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    batch = images(1, 1, 16, 16, 16)
    assert torch.equal(network.module(batch), own(batch))
    assert (network.channels, network.preparation.patch_size) == (1, (16, 16, 16))
    assert network.classes == ("background", "spleen")
    assert network.preprocessing["transforms"] == CONFIG["preprocessing"]


PREPROCESSING = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [0.7, 0.8, 2.5]},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": "@low",
        "a_max": 250,
        "b_min": -1.0,
        "b_max": 1.0,
        "clip": True,
    },
    {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
    {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0.0, "maxv": 2.0},
    {"_target_": "RandFlipd", "keys": "image"},
]


def test_a_volume_larger_than_the_window_is_monai_s_own(tmp_path: Path) -> None:
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8], "overlap": 0.5}
    config = CONFIG | {
        "low": -150,
        "preprocessing": {"_target_": "Compose", "transforms": PREPROCESSING},
        "inferer": inferer,
    }
    network = load_network(f"monai-bundle:{write(tmp_path / 'b', config)}")
    assert network.spacing == (2.5, 0.8, 0.7)
    assert [note.split()[3] for note in network.notes] == ["Orientation", "RandFlipd"]
    volume = np.random.default_rng(0).normal(50, 150, (20, 24, 17)).astype(np.float32)  # X, Y, Z
    parser = bundle.ConfigParser()
    values = [
        {k: v for k, v in one.items() if k != "keys"} | {"_target_": one["_target_"][:-1]}
        for one in PREPROCESSING[4:7]
    ]
    parser.update({"low": -150, "values": {"_target_": "Compose", "transforms": values}})
    prepared = torch.as_tensor(parser.get_parsed_content("values")(volume[None]))
    made = network.prepared.prepare(torch.from_numpy(volume.T.copy())[None, None])
    torch.testing.assert_close(made[0, 0].permute(2, 1, 0), prepared[0], rtol=1e-4, atol=1e-4)
    from monai.inferers import SlidingWindowInferer

    own = SlidingWindowInferer((16, 16, 8), overlap=0.5, mode="gaussian")
    expected = own(prepared[None], network.module)
    logits = network.prepared(torch.from_numpy(volume.T.copy())[None, None])
    torch.testing.assert_close(logits[0], expected[0].permute(0, 3, 2, 1), rtol=1e-3, atol=1e-3)


def test_the_training_s_configuration_and_other_weights_do(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", name="train")
    (folder / "models/model.pt").rename(folder / "models/best.pt")
    with pytest.raises(MissingDataError, match=r"has none of models/model\.pt"):
        load_network(f"monai-bundle:{folder}")
    load_network(f"monai-bundle:{folder}", folder / "models/best.pt")
    with pytest.raises(DataError, match="of another shape"):
        load_network(f"monai-bundle:{folder}", folder / "models/best.pt", out_channels=3)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"channels": "$__import__('pathlib').Path('harm').touch() or 1"}, "__import__"),
        ({"network_def": UNET | {"_target_": "scripts.mine.Net"}}, r"scripts\.mine\.Net"),
        ({"network_def": UNET | {"norm": {"_target_": "os.getcwd"}}}, r"os\.getcwd"),
    ],
)
def test_code_of_a_bundle_is_run_only_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "b", CONFIG | changed)
    with pytest.raises(InputError, match=f"would run code: .*{named}.*trust=true"):
        load_network(f"monai-bundle:{folder}")
    assert not (tmp_path / "harm").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_trusted_bundle_may_compute_its_arguments(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", CONFIG | {"channels": "$3 - 2"})
    load_network(f"monai-bundle:{folder}", trust=True)


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="give the folder of a MONAI bundle"):
        load_network(f"monai-bundle:{write(tmp_path / 'b', {'channels': 1})}")


class Doubled(nn.Module):
    """A pointwise network, which notes the largest window that it is given."""

    largest = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, *images.shape[2:])
        return 2 * images


@pytest.mark.parametrize("shape", [(23, 40), (5, 17), (16, 16), (9, 18, 20)])
def test_a_sliding_window_gives_what_a_pointwise_network_gives_at_once(
    shape: tuple[int, ...], images: Callable[..., torch.Tensor]
) -> None:
    batch, network = images(2, 1, *shape), Doubled()
    steps, patch = (NormaliseEach(),), (16,) * len(shape)
    front = Prepared(network, Preparation(steps=steps, patch_size=patch)).eval()
    torch.testing.assert_close(front(batch), 2 * NormaliseEach()(batch), rtol=1e-4, atol=1e-4)
    assert network.largest == 16


def test_a_folder_of_pictures_of_mixed_sizes_is_adapted_in_windows(
    images: Callable[..., torch.Tensor],
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    nn.init.constant_(module[2].bias, 0.5)
    network = Network(module=module).preparing(patch_size=[16, 16], each="all")
    samples = [Sample(f"s{i}", f"g{i}", 40 * images(1, 12 + 9 * (i % 2), 20)) for i in range(6)]
    options = TrainingOptions(epochs=1, batch_size=2)
    made = recipe("paper", options=options, min_pixels=1).adapt(network.predictor("cpu"), samples)
    assert made.predictor.predict(samples[1].image[None]).shape == (1, 1, 21, 20)


def test_large_pictures_go_through_in_bounded_memory() -> None:
    network = Doubled()
    front = Prepared(network, Preparation(patch_size=(64, 64), overlap=0.25)).eval()
    assert front(torch.zeros(1, 1, 500, 300)).shape == (1, 1, 500, 300)
    assert network.largest == 64


@pytest.mark.filterwarnings("ignore:monai.metrics:FutureWarning")  # by MONAI's own call
def test_borders_lie_as_far_apart_as_monai_measures(images: Callable[..., torch.Tensor]) -> None:
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    spacing = (3.0, 0.7, 0.8)
    one, other = (images(2, 1, 8, 16, 16) > 1.3).numpy()
    found = surface_distances(one[0], other[0], spacing)
    assert found is not None
    masks = [torch.as_tensor(mask)[None].float() for mask in (one, other)]
    expected = compute_hausdorff_distance(
        *masks, include_background=True, percentile=95, spacing=spacing
    )
    assert hd95(found) == pytest.approx(expected.item(), rel=1e-5)
    expected = compute_surface_dice(
        *masks, class_thresholds=[1.0], include_background=True, spacing=spacing
    )
    assert nsd(found, 1.0) == pytest.approx(expected.item(), rel=1e-5)
