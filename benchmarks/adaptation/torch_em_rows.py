"""torch-em's self-training, for the study alone; it needs ``pip install torch-em``.

Its trainers, pseudo-labelling, loss and augmentations run as they are. They see the images scaled
to [0, 1], for which the augmentations are made, and the network what it was trained on.
"""

from __future__ import annotations

import copy
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tifffile
import torch
from torch import nn

from pladapt.functional.arrays import to_numpy
from pladapt.torch.devices import resolve_device
from pladapt.torch.quiet import isolated

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

    from pladapt.torch import TorchPredictor
    from pladapt.types import Sample, Samples

TRAINERS: Final = {"mean-teacher": "MeanTeacherTrainer", "fixmatch": "FixMatchTrainer"}
"""Names in `torch_em.self_training`."""

_BATCH: Final = 8
_CONFIDENCE: Final = 0.9  # of the pixels that teach
_ENDS: Final = (0.1, 99.9)  # the percentiles of all pixels that become 0 and 1


class Unscaled(nn.Module):
    """A network that is given images scaled to [0, 1], and undoes it."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network, self.low, self.high = network, low, high

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's logits."""
        logits: torch.Tensor = self.network(images.float() * (self.high - self.low) + self.low)
        return logits


def self_trained(
    predictor: TorchPredictor,
    target: Samples[Sample],
    name: str,
    *,
    iterations: int = 300,
    seed: int = 0,
    device: str = "auto",
) -> TorchPredictor:
    """Return the predictor with a network that torch-em trained on the target alone.

    Args:
        predictor: Is not changed.
        target: Its images have two spatial axes.
        name: A key of `TRAINERS`.
        iterations: Steps of Adam with a batch of eight; the learning rate is 1e-4.
        seed: Of the augmentations and the order.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
    """
    import torch_em.self_training as peer  # noqa: PLC0415 - the study runs without it

    images = np.stack([to_numpy(target[index].image) for index in range(len(target))])
    low, high = np.percentile(images, _ENDS).tolist()
    scaled = np.clip((images - low) / (high - low), 0, 1).astype(np.float32)
    network = Unscaled(copy.deepcopy(predictor.module), low, high)
    with tempfile.TemporaryDirectory() as folder, isolated(), redirect_stdout(StringIO()):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - torch-em draws from it
        loaders = [_loader(scaled, Path(folder), weak=name == "fixmatch") for _ in range(2)]
        trainer = getattr(peer, TRAINERS[name])(
            name=name,
            model=network,
            unsupervised_train_loader=loaders[0],
            unsupervised_val_loader=loaders[1],
            unsupervised_loss=peer.DefaultSelfTrainingLoss(activation=nn.Sigmoid()),
            unsupervised_loss_and_metric=peer.DefaultSelfTrainingLossAndMetric(
                activation=nn.Sigmoid()
            ),
            pseudo_labeler=peer.DefaultPseudoLabeler(
                activation=nn.Sigmoid(), confidence_threshold=_CONFIDENCE
            ),
            optimizer=torch.optim.Adam(network.parameters(), lr=1e-4),
            device=resolve_device(device),
            mixed_precision=False,
            compile_model=False,
            logger=None,
            save_root=folder,
        )
        with redirect_stderr(StringIO()):
            trainer.fit(iterations=iterations)
    return predictor.with_module(trainer.model.network.cpu().eval())


def _loader(images: NDArray[np.float32], folder: Path, *, weak: bool) -> DataLoader[Any]:
    """Return torch-em's loader of pairs of views; with ``weak`` the first is the image itself."""
    import torch_em  # noqa: PLC0415 - the study runs without it
    from torch_em.data import RawImageCollectionDataset  # noqa: PLC0415 - the same
    from torch_em.transform.raw import get_default_mean_teacher_augmentations  # noqa: PLC0415

    strong = get_default_mean_teacher_augmentations(norm=_unchanged)
    dataset = RawImageCollectionDataset(
        _written(images, folder),
        images.shape[2:],
        raw_transform=_unchanged,
        augmentations=(_tensor if weak else strong, strong),
    )
    return torch_em.segmentation.get_data_loader(dataset, batch_size=_BATCH, shuffle=True)


def _written(images: NDArray[np.float32], folder: Path) -> list[str]:
    paths: list[str] = []
    for number, image in enumerate(images):
        paths.append(str(folder / f"{number}.tif"))
        tifffile.imwrite(paths[-1], np.moveaxis(image, 0, -1).squeeze(-1))
    return paths


def _unchanged(image: Any) -> Any:
    return image


def _tensor(image: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(image))
