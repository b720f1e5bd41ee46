"""MONAI: the networks of bundles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.torch import load_network

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
    assert (network.channels, network.patch_size) == (1, (16, 16, 16))
    assert network.classes == ("background", "spleen")
    assert network.preprocessing["transforms"] == CONFIG["preprocessing"]


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
