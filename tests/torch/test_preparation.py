"""Images in their own units and of any size, behind what prepares them for a network."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pladapt.errors import InputError, MissingDependencyError
from pladapt.torch import (
    FineTune,
    Folds,
    FoldsPredictor,
    Network,
    Preparation,
    Prepared,
    TorchPredictor,
    TrainingOptions,
    check_images,
    fit,
    load_network,
    load_predictor,
    recalibrate_batch_norm,
    save_predictor,
)
from pladapt.torch.data import Pairs, training_batches
from pladapt.torch.preparing import with_options
from pladapt.torch.steps import (
    BytesToUnit,
    Channels,
    Clip,
    GreyToColour,
    Normalise,
    NormaliseEach,
    RescaleEach,
    Transform,
    described,
    steps_of,
)
from pladapt.types import IGNORE, Batch, LabelledSample, PseudoLabelled, Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pladapt.torch.steps import Step

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
CODE = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width),
                         nn.Conv2d(width, 1, 1))

def doubled(image):
    assert image.ndim == 3
    return 2 * image

def smaller(image):
    return image[:, ::2]

text = "words"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of its own."""
    (tmp_path / "my_preparing.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_preparing", raising=False)
    return tmp_path


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) * 255


class Strict(nn.Module):
    """A network that halves its images and doubles them again: it takes even sizes alone."""

    def __init__(self, multiple: int = 4, most: int | None = None) -> None:
        super().__init__()
        self.multiple, self.most, self.seen = multiple, most, list[tuple[int, ...]]()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not any(n % self.multiple for n in images.shape[2:])
        assert self.most is None or max(images.shape[2:]) <= self.most
        self.seen.append(tuple(images.shape))
        return images[:, :1] * self.weight


STEPS: list[tuple[Step, Callable[[np.ndarray], np.ndarray]]] = [
    (Clip(20.0, 200.0), lambda x: x.clip(20, 200)),
    (
        Clip((20.0, None, None), (None, 200.0, None)),
        lambda x: np.stack([x[0].clip(20), x[1].clip(None, 200), x[2]]),
    ),
    (Normalise((1.0, 2.0, 3.0), 4.0), lambda x: (x - np.array([1, 2, 3])[:, None, None]) / 4),
    (NormaliseEach(), lambda x: (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)),
    (NormaliseEach(together=True), lambda x: (x - x.mean()) / x.std()),
    (
        NormaliseEach(channels=(1,)),
        lambda x: np.stack([x[0], (x[1] - x[1].mean()) / x[1].std(), x[2]]),
    ),
    (RescaleEach(-1, 1, together=True), lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1),
    (BytesToUnit(), lambda x: x / 255),
    (Channels((2, 1, 0)), lambda x: x[::-1]),
]


@pytest.mark.parametrize(("step", "expected"), STEPS, ids=lambda value: type(value).__name__)
def test_each_step_is_what_numpy_makes_of_it(
    step: Step, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    batch = images(2, 3, 6, 7)
    made = step(batch)
    for image, one in zip(batch.double().numpy(), made.numpy(), strict=True):
        np.testing.assert_allclose(one, expected(image), rtol=1e-4, atol=1e-4)
    (again,) = steps_of(json.loads(json.dumps(described([step]))))
    assert again == step
    torch.testing.assert_close(again(batch), made)


def test_what_is_measured_within_a_part_of_an_image() -> None:
    image = torch.zeros(1, 2, 8, 8)
    image[:, :, 2:5, 3:7] = images(1, 2, 3, 4) + 1
    image[:, :, 3, 4] = 0  # a hole
    box = image[:, :, 2:5, 3:7]
    made = NormaliseEach("box")(image)[:, :, 2:5, 3:7]
    expected = (box - box.mean((2, 3), keepdim=True)) / box.std((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(made, expected)
    inside = box[0, 0][box[0, 0] != 0]
    for where in ("nonzero", "foreground"):
        own = NormaliseEach(where)(image)  # type: ignore[arg-type]
        assert own[0, 0, 0, 0] == own[0, 0, 3, 4] == 0
        wanted = (inside - inside.mean()) / inside.std(correction=0)
        torch.testing.assert_close(own[0, 0, 2:5, 3:7][box[0, 0] != 0], wanted)
    assert not NormaliseEach("box")(torch.zeros(1, 1, 4, 4)).isnan().any()


def test_images_of_8_bits_are_divided_and_those_of_unit_range_are_not() -> None:
    batch = torch.stack([images(1, 4, 4)[..., :4], torch.rand(1, 4, 4)])
    made = BytesToUnit()(batch)
    assert torch.equal(made[0], batch[0] / 255)
    assert torch.equal(made[1], batch[1])
    assert GreyToColour()(batch).shape == (2, 3, 4, 4)
    assert torch.equal(GreyToColour()(images(1, 3, 4, 4)), images(1, 3, 4, 4))


def test_what_does_not_fit_the_channels_is_said() -> None:
    with pytest.raises(InputError, match="mean has 3 values, and the images 1 channels"):
        Normalise((1.0, 2.0, 3.0), 1.0)(images(1, 1, 4, 4))
    with pytest.raises(
        InputError, match=r"order of channels is \(2, 1, 0\), and the images have 1"
    ):
        Channels((2, 1, 0))(images(1, 1, 4, 4))
    with pytest.raises(InputError, match="std is 0"):
        Normalise(0.0, 0.0)


@given(
    shape=st.lists(st.integers(1, 13), min_size=2, max_size=3),
    multiple=st.integers(1, 8),
    padding=st.sampled_from(["edge", "zeros"]),
)
def test_any_size_is_padded_to_the_multiple_and_cropped_back(
    shape: list[int], multiple: int, padding: Any
) -> None:
    batch = images(2, 1, *shape)
    front = Prepared(Strict(multiple), Preparation(multiple_of=multiple, padding=padding))
    assert torch.equal(front(batch), batch)


@given(st.permutations([0, 1, 2]))
def test_axes_are_the_networks_and_come_back(axes: list[int]) -> None:
    batch, network = images(1, 1, 4, 8, 12), Strict()
    front = Prepared(network, Preparation(axes=tuple(axes)))
    assert torch.equal(front(batch), batch)
    assert network.seen[-1] == (1, 1, *(batch.shape[2 + axis] for axis in axes))


def test_images_are_resized_and_logits_come_back() -> None:
    network = Strict()
    batch = torch.ones(1, 1, 30, 45) * 5
    assert torch.allclose(Prepared(network, Preparation(size=(16, 24)))(batch), batch)
    assert network.seen[-1] == (1, 1, 16, 24)
    Prepared(network, Preparation(size=(20,), multiple_of=4))(batch)
    assert network.seen[-1] == (1, 1, 20, 32)  # 20 x 30, then padded
    with pytest.raises(InputError, match="the images have 3 axes"):
        Prepared(network, Preparation(size=(16, 24)))(images(1, 1, 4, 4, 4))


def test_a_patch_is_the_least_that_a_network_is_given() -> None:
    network = Strict()
    front = Prepared(network, Preparation(patch_size=(8, 12), padding="zeros")).eval()
    batch = images(1, 1, 5, 12)
    assert torch.equal(front(batch), batch)
    assert network.seen == [(1, 1, 8, 12)]
    with pytest.raises(
        InputError, match=r"patch_size is \(8, 12\), for images of 2 .*--dimensions 2"
    ):
        front(images(1, 1, 4, 4, 4))


def test_larger_images_need_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "monai.inferers", raising=False)
    monkeypatch.setitem(sys.modules, "monai", None)
    front = Prepared(Strict(), Preparation(patch_size=(8, 8))).eval()
    with pytest.raises(MissingDependencyError, match=r"pladapt\[monai\]"):
        front(images(1, 1, 16, 8))


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"multiple_of": 0}, "multiple_of is 0"),
        ({"overlap": 1.0}, "overlap 1.0"),
        ({"padding": "mirror"}, "'edge' or 'zeros'"),
        ({"axes": (0, 2)}, "each spatial axis once"),
        ({"size": (0, 4)}, "at least 1"),
        ({"patch_size": (24, 20), "multiple_of": 8}, "multiples of 8"),
    ],
)
def test_a_preparation_out_of_range_is_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preparation(**given_)


def test_a_preparation_is_json_and_comes_back() -> None:
    assert not Preparation()
    made = Preparation(steps=(Clip(0.0, 1.0), NormaliseEach()), size=(8,), patch_size=(4, 4))
    assert Preparation.of(json.loads(json.dumps(made.describe()))) == made
    with pytest.raises(InputError, match="no preparation"):
        Preparation.of({"depth": 3})
    with pytest.raises(InputError, match="no steps"):
        Preparation.of({"steps": [{"kind": "magic"}]})


def test_a_users_options_take_the_place_of_the_librarys() -> None:
    known = Preparation(steps=(BytesToUnit(),), size=(8,), multiple_of=4)
    assert with_options(known) == known
    assert with_options(known, library=False) == Preparation(multiple_of=4)
    made = with_options(known, window=(-100, 300), mean=[0.5], std=0.25, patch_size=[8, 8])
    batch = images(1, 1, 4, 4) * 4 - 300
    expected = (((batch + 100) / 400).clip(0, 1) - 0.5) / 0.25
    assert torch.allclose(Prepared(nn.Identity(), made).prepare(batch), expected)
    assert (made.size, made.multiple_of, made.patch_size) == ((8,), 4, (8, 8))
    assert with_options(known, scale="bytes", channels="bgr", each="all").steps == (
        Channels((2, 1, 0)),
        BytesToUnit(),
        NormaliseEach("all"),
    )
    for wrong in ({"scale": -1}, {"window": [3, 2]}, {"channels": "cmyk"}):
        with pytest.raises(InputError, match=r"give"):
            with_options(known, **wrong)
    with pytest.raises(InputError, match=r"Known are library, .*patch_size"):
        Network(module=Strict()).preparing(patch=3)


def test_a_transform_by_name_prepares_each_image(here: Path) -> None:
    network = load_network("my_preparing:make").preparing(transform="my_preparing:doubled")
    batch = images(2, 1, 6, 6)
    assert torch.equal(network.prepared(batch), network.module(2 * batch))
    for name, message in (
        ("my_preparing:smaller", "keep the spatial shape"),
        ("my_preparing:none", "There is no transform"),
        ("my_preparing:text", "is a str, and not callable"),
    ):
        with pytest.raises(InputError, match=message):
            Transform(name)(batch)


def test_probabilities_of_folds_are_prepared_for_each() -> None:
    parts: list[nn.Module] = [nn.Conv2d(1, 1, 1) for _ in range(2)]
    ending: list[nn.Module] = [nn.Sequential(part, nn.Sigmoid()) for part in parts]
    network = Network(module=Folds(ending)).preparing(scale="bytes", multiple_of=4)
    batch = images(2, 1, 5, 7)
    predictor = network.reading("none").predictor("cpu")
    assert isinstance(predictor, FoldsPredictor)
    members = predictor.predict_batch(Batch.unnamed(batch)).members
    torch.testing.assert_close(members, torch.stack([part(batch / 255) for part in ending]))
    assert TorchPredictor(network.prepared, "cpu", activation="none").predict(batch).shape == (
        2,
        1,
        5,
        7,
    )


def test_batch_norm_is_recalibrated_on_images_of_mixed_sizes(net: Callable[..., nn.Module]) -> None:
    samples = [Sample(f"s{i}", "g", images(1, 9 + i % 2, 11, seed=i).numpy()) for i in range(4)]
    network = Network(module=net()).preparing(scale="bytes", multiple_of=4)
    made = recalibrate_batch_norm(network.predictor("cpu"), samples, device="cpu")
    assert isinstance(made.module, Prepared)
    plain = [Sample(s.id, s.group, s.image / 255) for s in samples]
    other = network.preparing(library=False).predictor("cpu")
    expected = recalibrate_batch_norm(other, plain, device="cpu")
    torch.testing.assert_close(made.module.state_dict(), expected.module.state_dict())


OPTIONS = TrainingOptions(epochs=2, batch_size=2, keep="last")


def test_training_is_on_prepared_images(net: Callable[..., nn.Module], blobs: Any) -> None:
    scaled = [replace(s, image=255 * s.image) for s in blobs(4)]
    prepared = Network(module=net()).preparing(scale=1 / 255).prepared
    made = fit(prepared, scaled, None, OPTIONS)
    plain = fit(net(), blobs(4), None, OPTIONS)
    assert isinstance(made.module, Prepared)
    assert made.module.preparation == prepared.preparation  # type: ignore[union-attr]
    torch.testing.assert_close(made.module.network.state_dict(), plain.module.state_dict())


def test_training_is_on_crops_of_the_patch_that_often_show_the_foreground() -> None:
    mask = np.zeros((40, 30), np.uint8)
    mask[33:35, 2:4] = 1
    samples = [LabelledSample(f"s{i}", "g", mask[None].astype(np.float32), mask) for i in range(40)]
    pairs = Pairs(samples, 1, crop=(8, 64))
    batches = list(training_batches(pairs, 4, seed=0, first=0, workers=0))
    again = list(training_batches(pairs, 4, seed=0, first=1, workers=0))
    assert all(image.shape == (4, 1, 8, 30) for image, _ in batches)
    assert all(torch.equal(image[:, 0], mask.float()) for image, mask in batches)
    shown = sum(int(mask.flatten(1).any(1).sum()) for _, mask in batches)
    assert 15 <= shown <= 35
    assert not all(torch.equal(one[1], two[1]) for one, two in zip(batches, again, strict=True))


def test_the_border_of_smaller_images_does_not_teach() -> None:
    small, large = np.full((4, 5), 1, np.uint8), np.zeros((6, 5), np.uint8)
    samples = [
        LabelledSample("a", "g", small[None].astype(np.float32) * 3, small),
        LabelledSample("b", "g", large[None].astype(np.float32), large),
    ]
    ((image, mask),) = training_batches(Pairs(samples, 1), 2, seed=0, first=0, workers=0)
    at = int(image.flatten(1).amax(1).argmax())
    assert image[at].unique().tolist() == [3]
    assert torch.equal(mask[at, 4:], torch.full((2, 5), IGNORE, dtype=torch.uint8))
    soft = [PseudoLabelled("a", "g", samples[0].image, small, 1.0, weight=np.full((4, 5), 0.5))]
    pairs = Pairs([*soft, samples[1]], 1, soft=True)
    ((image, mask),) = training_batches(pairs, 2, seed=0, first=0, workers=0)
    at = int(image.flatten(1).amax(1).argmax())
    assert mask[at, -1].tolist() == [[0.5] * 5] * 4 + [[0.0] * 5] * 2


def test_an_adapted_predictor_comes_back_from_its_folder_alone(here: Path) -> None:
    network = load_network("my_preparing:make", width=2)
    network = network.reading("sigmoid", channel=0).preparing(window=[0, 255], multiple_of=4)
    predictor = network.predictor("cpu", batch_size=2)
    mask = np.zeros((10, 9), np.uint8)
    mask[3:6, 3:6] = 1
    labels = [
        PseudoLabelled(f"s{i}", f"g{i}", images(1, 10, 9, seed=i), mask, 1.0) for i in range(3)
    ]
    trained = FineTune(validation=None, options=OPTIONS).retrain(predictor, labels)
    save_predictor(trained, here / "adapted")
    loaded = load_predictor(here / "adapted", device="cpu")
    assert isinstance(loaded, TorchPredictor)
    batch = images(2, 1, 10, 9)
    assert torch.equal(loaded.predict(batch), trained.predict(batch))
    assert not torch.equal(loaded.predict(batch), predictor.predict(batch))
    assert loaded.describe() == trained.describe()
    assert loaded.describe()["preparation"]["multiple_of"] == 4
    bare = network.module
    given_ = load_predictor(here / "adapted", bare, device="cpu")
    assert torch.equal(given_.predict(batch), trained.predict(batch))


def test_a_folder_that_does_not_say_what_made_its_network_asks_for_it(here: Path) -> None:
    save_predictor(TorchPredictor(nn.Conv2d(1, 1, 1), "cpu"), here / "adapted")
    with pytest.raises(InputError, match=r"load_predictor\(folder, module\)"):
        load_predictor(here / "adapted")
    made = load_network("torch.nn:Conv2d", in_channels=1, out_channels=1, kernel_size=(1, 1))
    odd = replace(made, origin={"name": "torch.nn:Conv2d", "arguments": {"dtype": torch.float32}})
    save_predictor(odd.predictor("cpu"), here / "odd")
    with pytest.raises(InputError, match=r"load_predictor\(folder, module\)"):
        load_predictor(here / "odd")


def samples_of(*values: np.ndarray) -> list[Sample]:
    return [Sample(f"s{i}", "g", value.astype(np.float32)) for i, value in enumerate(values)]


def test_images_in_other_units_than_the_networks_are_said() -> None:
    bytes_, unit = RNG.uniform(0, 255, (2, 1, 8, 8)), RNG.uniform(0, 1, (2, 1, 8, 8))
    plain = Network(module=nn.Conv2d(1, 1, 1))
    told = check_images(plain, samples_of(*bytes_))
    assert told is not None
    assert "nothing prepares them" in told
    assert "--window" in told
    assert check_images(plain, samples_of(*unit)) is None
    scaled = plain.preparing(scale=1 / 255).preparing(library=False)
    scaled = plain.preparing(scale=1 / 255, mean=0.45, std=0.22)
    assert check_images(scaled, samples_of(*bytes_)) is None
    told = check_images(scaled, samples_of(*unit))
    assert told is not None
    assert "0 to 1 in place of 0 to 255" in told
    unscaled = plain.preparing(mean=0.45, std=0.22)
    assert "standard deviation" in str(check_images(unscaled, samples_of(*bytes_)))
    assert check_images(unscaled, samples_of(*unit)) is None
    assert check_images(plain.preparing(each="all"), samples_of(*bytes_)) is None


@pytest.mark.parametrize("thinned", [2**22, 50])
def test_the_range_of_several_images_is_that_of_all_their_pixels(
    monkeypatch: pytest.MonkeyPatch, thinned: int
) -> None:
    from pladapt.torch import checking

    monkeypatch.setattr(checking, "_THINNED", thinned)
    images = [RNG.uniform(low, low + 5, (1, 1, size, 16)) for low, size in ((0, 16), (30, 48))]
    found = checking._range(map(torch.from_numpy, images))
    values = np.concatenate([image.ravel() for image in images])
    assert (found.least, found.largest) == (values.min(), values.max())
    close = 1e-9 if thinned > len(values) else 0.05
    assert found.mean == pytest.approx(values.mean(), rel=close)
    assert found.std == pytest.approx(values.std(), rel=close)
