"""nnU-Net v2: a folder of results that its own trainer wrote."""

from __future__ import annotations

import copy
import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.torch import Folds, FoldsPredictor, load_network
from pladapt.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.torch,
    pytest.mark.networks,
    pytest.mark.filterwarnings("ignore::Warning:nnunetv2"),
    pytest.mark.filterwarnings("ignore::Warning:batchgenerators.*"),
]

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed")

ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * 3,
        "strides": [[1, 1], [2, 2], [2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
RESAMPLING = {"order": 1, "order_z": 0, "force_separate_z": None}
INTENSITIES = {"mean": 60.0, "std": 20.0, "percentile_00_5": -100.0, "percentile_99_5": 200.0}
PLANS: dict[str, Any] = {
    "dataset_name": "Dataset001_Tiny",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
    "configurations": {
        "2d": {
            "data_identifier": "nnUNetPlans_2d",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [32, 32],
            "median_image_size_in_voxels": [32.0, 32.0],
            "spacing": [0.8, 0.7],
            "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False} | RESAMPLING,
            "resampling_fn_seg_kwargs": {"is_seg": True} | RESAMPLING,
            "resampling_fn_probabilities_kwargs": {"is_seg": False} | RESAMPLING,
            "architecture": ARCHITECTURE,
            "batch_dice": True,
        }
    },
}
DATASET: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "organ": 1, "lesion": 2},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
REGIONS = DATASET | {
    "labels": {"background": 0, "whole": [1, 2], "core": 2},
    "regions_class_order": [1, 2],
}


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the results of folds with nnU-Net's trainer, stopped before its first epoch."""
    trainers = importlib.import_module("nnunetv2.training.nnUNetTrainer.nnUNetTrainer")
    monkeypatch.setenv("nnUNet_compile", "f")
    for name in ("nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setattr(trainers, name, str(tmp_path / name))
    (tmp_path / "nnUNet_preprocessed/Dataset001_Tiny/nnUNetPlans_2d").mkdir(parents=True)

    def make(folds: tuple[int | str, ...] = (0, 1), dataset: dict[str, Any] = DATASET) -> Path:
        for number, fold in enumerate(folds):
            torch.manual_seed(number)
            plans = copy.deepcopy(PLANS) | {"continue_training": False}
            trainer = trainers.nnUNetTrainer(
                plans, "2d", fold, copy.deepcopy(dataset), device=torch.device("cpu")
            )
            build(trainer)
            trainer._best_ema = np.float64(0.5)
            trainer.logger.log("mean_fg_dice", np.float32(0.25), 0)
            path = tmp_path / "nnUNet_results/Dataset001_Tiny" / trainer.output_folder
            path.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(str(path / "checkpoint_final.pth"))
        (path.parent / "plans.json").write_text(json.dumps(PLANS))
        (path.parent / "dataset.json").write_text(json.dumps(dataset))
        return path.parent

    return make


def build(trainer: Any) -> None:
    """Build the network and the optimiser as the trainer does, without data to be read."""
    heads = trainer.label_manager.num_segmentation_heads
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager,
        trainer.configuration_manager,
        1,
        heads,
        True,  # noqa: FBT003
    )
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    trainer.inference_allowed_mirroring_axes = (0, 1)


def own_logits(folder: Path, images: torch.Tensor) -> torch.Tensor:
    """Return what nnU-Net's own predictor computes: the mean of its folds."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    found = []
    for parameters in predictor.list_of_parameters:
        predictor.network.load_state_dict(parameters)
        found.append(predictor.network.eval()(images))
    return torch.stack(found).mean(0)


def test_all_folds_are_members_of_one_predictor(
    train: Callable[..., Path], images: Callable[..., torch.Tensor]
) -> None:
    folder, batch = train(), images(2, 1, 32, 32)
    network = load_network(f"nnunet:{folder}")
    assert isinstance(network.module, Folds)
    torch.testing.assert_close(network.module(batch), own_logits(folder, batch))
    predictor = network.preparing(library=False).predictor("cpu")
    assert isinstance(predictor, FoldsPredictor)
    assert predictor.predict_batch(Batch.unnamed(batch)).members.shape == (2, 2, 3, 32, 32)
    expected = own_logits(folder, batch).softmax(1)
    torch.testing.assert_close(predictor.predict(batch), expected)


def test_what_nnunet_does_to_images_is_told(train: Callable[..., Path]) -> None:
    network = load_network(f"nnunet:{train()}")
    assert (network.preparation.patch_size, network.spacing) == ((32, 32), (0.8, 0.7))
    assert network.classes == ("background", "organ", "lesion")
    assert network.channels == 1
    told = network.preprocessing
    assert told["normalisation"] == [
        {"scheme": "CTNormalization", "use_mask": False, "statistics": INTENSITIES}
    ]
    assert told["mirror_axes"] == [0, 1]
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize("scheme", ["CTNormalization", "ZScoreNormalization"])
def test_a_slice_is_normalised_as_nnunet_does(train: Callable[..., Path], scheme: str) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    folder, plans = train(), copy.deepcopy(PLANS)
    plans["configurations"]["2d"]["normalization_schemes"] = [scheme]
    (folder / "plans.json").write_text(json.dumps(plans))
    image = np.random.default_rng(0).normal(60, 40, (1, 1, 48, 32)).astype(np.float32)
    own = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    own.initialize_from_trained_model_folder(str(folder), None)
    managers = own.plans_manager, own.configuration_manager
    expected, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        image.copy(), None, {"spacing": [1.0, 0.8, 0.7]}, *managers, DATASET
    )
    network: Any = load_network(f"nnunet:{folder}").prepared
    made = network.prepare(torch.from_numpy(image[:, 0])[None])
    np.testing.assert_allclose(made[0].numpy(), np.asarray(expected)[:, 0], rtol=1e-3, atol=1e-4)


def test_an_unknown_normalisation_is_refused(train: Callable[..., Path]) -> None:
    folder = train((0,))
    plans = copy.deepcopy(PLANS)
    plans["configurations"]["2d"]["normalization_schemes"] = ["MyNormalization"]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(InputError, match=r"'MyNormalization'.*--prepare"):
        load_network(f"nnunet:{folder}")


def test_a_folder_above_a_single_training_does_and_folds_can_be_chosen(
    train: Callable[..., Path], tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    folder, batch = train((0, "all")), images(1, 1, 32, 32)
    one = load_network(f"nnunet:{tmp_path}/nnUNet_results")
    assert not isinstance(one.module, Folds)  # the numbered fold
    other = load_network(f"nnunet:{folder}", folds=["all"])
    assert not torch.equal(one.module(batch), other.module(batch))
    with pytest.raises(MissingDataError, match=r"fold_0.*fold_all.*\[3\]"):
        load_network(f"nnunet:{folder}", folds=[3])
    with pytest.raises(MissingDataError, match=r"checkpoint_best\.pth"):
        load_network(f"nnunet:{folder}", checkpoint="checkpoint_best.pth")


def test_regions_are_taken_one_at_a_time(
    train: Callable[..., Path], images: Callable[..., torch.Tensor]
) -> None:
    folder, batch = train(dataset=REGIONS), images(1, 1, 32, 32)
    network = load_network(f"nnunet:{folder}")
    assert network.classes == ("whole", "core")
    with pytest.raises(InputError, match="channels; probabilities are one channel, or several"):
        network.predictor("cpu").predict(batch)
    core = network.reading(channel=1).preparing(library=False)
    expected = own_logits(folder, batch)[:, 1:].sigmoid()
    torch.testing.assert_close(core.predictor("cpu").predict(batch), expected)
    assert core.classes == ("core",)


def test_plans_that_name_other_code_are_refused(train: Callable[..., Path]) -> None:
    folder = train((0,))
    plans = copy.deepcopy(PLANS)
    plans["configurations"]["2d"]["architecture"]["network_class_name"] = "os.system"
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(InputError, match=r"name the network os\.system"):
        load_network(f"nnunet:{folder}")


def test_a_checkpoint_of_something_else_is_refused(train: Callable[..., Path]) -> None:
    folder = train((0,))
    torch.save({"network_weights": {}}, folder / "fold_0/checkpoint_final.pth")
    with pytest.raises(DataError, match="not nnU-Net's"):
        load_network(f"nnunet:{folder}")
    with pytest.raises(MissingDataError, match=r"has no plans\.json"):
        load_network(f"nnunet:{folder}/fold_0")
