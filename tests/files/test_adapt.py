"""Adapting from the command line: a function that makes a network, weights, and folders."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt import DataError, InputError, LabelledSample, Sample, SourceStatistics, read_run
from pladapt.cli.application import application
from pladapt.files import Files, Grouping, ImageLayout, MaskLayout, read_samples, read_truth
from pladapt.review.pictures import png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

NETWORK = """
import torch
from torch import nn

def net(channels=1):
    # marks what is bright, a pixel further to the right: another mask on a mirror image
    first, last = nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.Conv2d(channels, 1, 1)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:, 0, 1, 0] = 1
        last.weight.fill_(9 / channels)
        last.bias.fill_(-9)
    return nn.Sequential(first, nn.BatchNorm2d(channels, affine=False), last)

def untrained(width=4):
    return nn.Conv2d(1, width, 3, padding=1)

def bright(channels=1):
    conv = nn.Conv2d(1, channels, 1)
    nn.init.constant_(conv.weight, 8)
    nn.init.constant_(conv.bias, -4)
    return nn.Sequential(conv, nn.Sigmoid())

def frozen():
    return net().requires_grad_(False)

def colour():
    torch.manual_seed(0)
    return nn.Conv2d(3, 1, 1)

def words():
    return "no module"
"""
PLACES = [(8, 9), (11, 7), (9, 12), (12, 10), (7, 8), (10, 11)]


def lesions(
    size: int = 12, edge: float = 1.0, core: float = 1.0
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Images with a lesion each, a square with a core of 4 x 4 pixels, and their masks."""
    rng, inner = np.random.default_rng(0), (size - 4) // 2
    made = []
    for row, column in PLACES:
        image = rng.normal(0, 0.01, (32, 32))
        image[row : row + size, column : column + size] += edge
        image[row + inner : row + inner + 4, column + inner : column + inner + 4] += core - edge
        mask = np.zeros((32, 32), np.uint8)
        mask[row : row + size, column : column + size] = 1
        made.append((image.astype(np.float32), mask))
    return made


def faint() -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The same of another scanner: of these the network marks the cores alone."""
    return lesions(7, 0.4, 0.6)


@pytest.fixture
def folders(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of the source's images and of the target's, with its truth apart."""
    for index, (image, _) in enumerate(lesions()):
        write(tmp_path / f"source/{index}.npy", image)
    for index, (image, mask) in enumerate(faint()):
        write(tmp_path / f"images/p{index}_{index}.npy", image)
        write(tmp_path / f"truth/p{index}_{index}.npy", 255 * mask)
    (tmp_path / "tiny_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def weights(folders: Path) -> Path:
    """Weights of a network that marks the source's lesions wholly, and its statistics."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("lightning", reason="lightning is not installed")
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from pladapt.torch import TorchPredictor, recalibrate_batch_norm, save_module

    source = [
        Sample(f"s{index}", f"g{index}", image[None]) for index, (image, _) in enumerate(lesions())
    ]
    predictor = TorchPredictor(made_by(folders), device="cpu")
    made = recalibrate_batch_norm(predictor, source, device="cpu")
    save_module(made.module, folders / "net.safetensors")
    line = "source source -o stats.npz --model tiny_network:net --device cpu --cutoff 0.4"
    measured = pladapt(f"{line} --weights net.safetensors")
    assert measured.exit_code == 0, measured.output
    assert "Source statistics of 6 samples: stats.npz" in measured.stdout
    return folders / "net.safetensors"


def made_by(folder: Path) -> Any:
    names: dict[str, Any] = {}
    exec((folder / "tiny_network.py").read_text(), names)  # noqa: S102 - the network above
    return names["net"]()


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), line.split())


def error_of(line: str) -> str:
    result = pladapt(line)
    assert result.exit_code == 1, result.output
    return str(result.exception)


ADAPT = (
    "adapt tiny_network:net images -o run --weights net.safetensors --group-by ^(p\\d) --device cpu"
)
QUICK = "--set epochs=1 --set min_steps=2 --batch-size 4"
KNOWN = f"{ADAPT} {QUICK} --source stats.npz"


@pytest.mark.torch
def test_source_then_adapt_with_truth(folders: Path, weights: Path) -> None:
    from pladapt.torch import load_predictor

    assert weights.exists()
    statistics = SourceStatistics.load(folders / "stats.npz")
    assert statistics.cutoff == 0.4
    assert statistics.fraction is not None

    line = f"{KNOWN} --truth truth --truth-label 255"
    (folders / "truth/p0_0.npy").rename(folders / "truth/other.npy")
    adapted = pladapt(line)
    assert adapted.exit_code == 0, adapted.output
    assert adapted.stdout.startswith("Verdict: adapted: trained in 1 round\n")
    assert "6 of 6 target samples were retrained on in 1 round" in adapted.stdout
    assert "Left out: other: There is a truth, and no image" in adapted.stdout
    assert (folders / "run/truth.left-out.csv").read_text().count("\n") == 3
    assert "truth, pooled" in adapted.stdout
    assert "Adapted predictor: run/adapted (cut-off 0.4)" in adapted.stdout
    record = read_run(folders / "run")
    assert set(record.before) == {"truth"}
    config = json.loads((folders / "run/run.json").read_text())["config"]
    assert config["target"] == {"samples": 6}
    assert config["recalibrator"]["cutoff"] == 0.4
    for name in ("report.html", "report.md"):
        assert "Verdict: adapted: trained in 1 round" in (folders / "run" / name).read_text()

    again = pladapt(line)
    assert again.exit_code == 0, again.output
    images = np.stack([image[None] for image, _ in faint()[1:]])
    loaded = load_predictor(folders / "run/adapted", made_by(folders), device="cpu")
    probabilities = loaded.predict(images)
    assert probabilities.shape == images.shape
    found = np.asarray(probabilities[:, 0]) > 0.4
    truth = np.stack([mask for _, mask in faint()[1:]]).astype(bool)
    dsc = 2 * np.sum(found & truth) / (found.sum() + truth.sum())
    assert record.after["truth"].value("dsc") == pytest.approx(dsc, abs=1e-6)
    assert dsc > 0.8 > record.before["truth"].value("dsc")


@pytest.mark.torch
def test_masks_from_another_tool_teach_the_next_round(folders: Path, weights: Path) -> None:
    assert weights.exists()
    line = f"{KNOWN} --truth truth --truth-label 255"
    adapted = pladapt(line)
    assert adapted.exit_code == 0, adapted.output
    first = read_run(folders / "run")
    exported = pladapt("labels export run --to png -o out -n 3")
    assert exported.exit_code == 0, exported.output
    ids = json.loads((folders / "out/export.json").read_text())["files"]
    truth = {f"p{index}_{index}": mask for index, (_, mask) in enumerate(faint())}
    for file, id_ in ids.items():
        (folders / "out/masks" / file).write_bytes(png(truth[id_]))
    imported = pladapt("labels import run out --who Ann --minutes 2")
    assert imported.exit_code == 0, imported.output
    assert "3 masks corrected, 0 accepted." in imported.stdout
    again = pladapt(line)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("Verdict: adapted: trained with 3 reviewed masks\n")
    result = read_run(folders / "run")
    assert len(result.rounds) == len(first.rounds) + 1
    report = (folders / "run/report.md").read_text()
    before, after = (each.after["truth"].value("dsc") for each in (first, result))
    assert f"| 0.0 | 0 | {before:.3f} |" in report
    assert f"| 2.0 | 3 | {after:.3f} |" in report
    assert "predictions, reviewed" in report
    (noted,) = json.loads((folders / "run/run.json").read_text())["reviews"]
    assert (noted["who"], noted["corrected"], noted["seconds"]) == ("Ann", 3, 120)
    assert noted["first"] <= noted["last"]


@pytest.mark.torch
def test_a_few_labelled_images_decide(folders: Path, weights: Path) -> None:
    assert weights.exists()
    for index, (_, mask) in enumerate(faint()[:3]):  # of six images
        (folders / "few").mkdir(exist_ok=True)
        np.save(folders / f"few/p{index}_{index}.npy", 255 * mask)
    np.save(folders / "few/stray.npy", 255 * faint()[0][1])
    line = f"{KNOWN} --labelled images few --truth-label 255"
    adapted = pladapt(line)
    assert adapted.exit_code == 0, adapted.output
    said = " ".join(adapted.stdout.split())
    assert "on the 3 labelled images" in said
    assert "The labels of 3 images chose (p0_0, p1_1, p2_2); none taught." in said
    assert "The candidates on the labelled images" in said
    assert "Left out: stray: There is a truth, and no image" in said
    assert (folders / "run/labelled.left-out.csv").read_text().count("\n") == 2
    config = json.loads((folders / "run/run.json").read_text())["config"]
    assert config["labelled"] == {"chose": ["p0_0", "p1_1", "p2_2"], "taught": []}
    report = (folders / "run/report.md").read_text()
    assert "The masks of the labelled images chose what was taken, and taught nothing" in report
    again = pladapt("report run")
    assert again.exit_code == 0, again.output
    assert "The candidates on the labelled images" in (folders / "run/report.md").read_text()

    assert "keep the masks in a folder apart" in error_of(f"{KNOWN} --labelled few few")
    assert "has no option 'labelled'" in error_of(
        f"{ADAPT} --recipe paper --labelled images few --truth-label 255"
    )
    assert "the lower first" in error_of(f"{KNOWN} --foreground-fraction 0.2 0.1")


@pytest.mark.torch
def test_adapt_without_truth_shows_the_evidence_and_refuses_another_seed(
    folders: Path, weights: Path
) -> None:
    assert weights.exists()
    adapted = pladapt(f"{ADAPT} {QUICK} --set factor=4.0")
    assert adapted.exit_code == 0, adapted.output
    said = " ".join(adapted.stdout.split())
    assert said.startswith("Verdict: adapted: with batch normalisation's statistics of the target")
    assert "What it was made from, without a label of the target" in said
    assert "the predictor that was given and the one it made" in said
    assert "and not retrained" in said  # without the source's statistics
    assert read_run(folders / "run").before == {}
    told = json.loads((folders / "run/adapted/predictor.json").read_text())
    assert told["cutoff"] == 0.5
    assert "another folder to start anew" in error_of(f"{ADAPT} {QUICK} --set factor=4.0 --seed 7")


@pytest.mark.torch
@pytest.mark.parametrize(
    "case",
    [
        (
            "source's",
            3,
            "Verdict: left as it was: there is no shift: the images are like the source's",
        ),
        ("inverted", 4, "Verdict: not fit for these images: bright and dark are the other way"),
    ],
)
def test_a_network_that_is_not_adapted_ends_in_a_status_of_its_own(
    folders: Path, weights: Path, write: Write, case: tuple[str, int, str]
) -> None:
    from safetensors.torch import load_file

    kind, status, said = case
    for index, (image, _) in enumerate(lesions()):
        write(folders / f"target/p{index}.npy", image if kind == "source's" else 1 - image)
    line = KNOWN.replace("images", "target")
    for _ in range(2):  # anew, and from the folder
        left = pladapt(line)
        assert left.exit_code == status, left.output
        assert left.stdout.startswith(said)
        assert "Predictor, as it was: run/adapted" in left.stdout
    left = pladapt(f"{line} --json")
    assert left.exit_code == status, left.output
    found = json.loads(left.stdout)
    assert {"unchanged": 3, "unfit": 4}[found["outcome"]] == status
    assert (found["run"], found["adapted"], found["cutoff"]) == ("run", "run/adapted", 0.4)
    assert said in left.stderr
    text = (folders / "run/report.md").read_text()
    assert text.splitlines()[2].startswith(said)
    given, stored = load_file(weights), load_file(folders / "run/adapted/model.safetensors")
    assert given.keys() == stored.keys()
    for name, value in given.items():
        np.testing.assert_array_equal(stored[name], value)


@pytest.mark.torch
def test_images_and_truth_are_read_as_the_options_say(folders: Path, weights: Path) -> None:
    assert weights.exists()
    for index, (image, mask) in enumerate(faint()):
        np.savez(folders / f"images/p{index}_{index}.npz", other=mask, seen=np.stack([image] * 3))
        (folders / f"images/p{index}_{index}.npy").unlink()
        np.savez(folders / f"truth/p{index}_{index}_mask.npz", seen=mask * (index + 1))
        (folders / f"truth/p{index}_{index}.npy").unlink()
    for name in ("images/notes.txt", "truth/more.txt"):
        (folders / name).write_text("no image")
    line = f"{ADAPT} --set train=false --set factor=4.0 --truth truth --key seen --max-values"
    assert "more than is read at once" in error_of(f"{line} 3000 --channels 1")
    adapted = pladapt(f"{line} 4000 --channels 1 --binary --match ^(.+?)(?:_mask)?$")
    assert adapted.exit_code == 0, adapted.output
    assert "listed in run/images.left-out.csv: 1 .txt" in adapted.stdout
    assert "listed in run/truth.left-out.csv: 1 .txt" in adapted.stdout
    assert read_run(folders / "run").after["truth"].samples.num_rows == len(PLACES)


@pytest.mark.torch
def test_the_paper_s_recipe_takes_its_own_options(folders: Path, weights: Path) -> None:
    assert weights.exists()
    line = f"{ADAPT} --recipe paper --seed 1 --cutoff 0.4 --set min_pixels=3"
    said = error_of(f"{line} --set margin=0.1")
    assert "with the options ['cutoff', 'device', 'margin', 'min_pixels', 'seed']" in said
    assert "There is no recipe 'papr'. Did you mean 'paper'" in error_of(
        line.replace("paper", "papr")
    )
    for part in ("1/2", "2/2"):
        labelled = pladapt(f"{line} --part {part}")
        assert labelled.exit_code == 0, labelled.output
        assert not (folders / "run/round-1").exists()
    adapted = pladapt(line)
    assert adapted.exit_code == 0, adapted.output
    config = json.loads((folders / "run/run.json").read_text())["config"]
    assert config["selector"]["min_pixels"] == 3
    assert "another folder to start anew" in error_of(line.replace("--seed 1", "--seed 2"))


@pytest.mark.torch
def test_an_interrupted_adaptation_goes_on(
    folders: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weights.exists()
    with monkeypatch.context() as patch:

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("pladapt.torch.retrainer.fit", interrupt)
        stopped = pladapt(KNOWN)
    assert stopped.exit_code == 130
    assert "the same command continues the run" in " ".join(stopped.output.split())
    scores = folders / "run/round-1/scores.parquet"
    written = scores.stat().st_mtime_ns
    gone_on = pladapt(KNOWN)
    assert gone_on.exit_code == 0, gone_on.output
    assert scores.stat().st_mtime_ns == written
    first = (folders / "run/adapted/model.safetensors").read_bytes()
    shutil.rmtree(folders / "run")
    assert pladapt(KNOWN).exit_code == 0
    assert (folders / "run/adapted/model.safetensors").read_bytes() == first


@pytest.mark.torch
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("adapt tiny_network.py images -o run", "is a file; expected what makes the torch module"),
        ("adapt tiny_network:words images -o run", "made a str; expected a torch module"),
        ("adapt tiny_network:nut images -o run", "makes no network"),
        ("adapt tiny_network:net images -o run --argument depth=3", "'depth': 3"),
        ("adapt tiny_network:net images -o run --weights net.pth", "There is no file"),
        ("adapt tiny_network:net images -o run --weights gone.safetensors", "There is no file"),
        ("adapt tiny_network:bright images -o run --device cpu", "Give activation='none'"),
        (
            "adapt tiny_network:bright images -o run --device cpu --argument channels=3",
            "--activation none --channel 0",
        ),
        ("adapt tiny_network:bright images -o run --channel 1", "channel is 1 and activation"),
        ("adapt tiny_network:untrained images -o run", "random, and none were loaded"),
        ("source source -o stats.npz --model tiny_network:untrained", "random, and none"),
        ("adapt tiny_network:frozen images -o run", "all 3 of its parameters are frozen"),
        ("adapt tiny_network:net images -o run --weights tiny_network.py", "expected .safetensors"),
        ("adapt tiny_network:colour images -o run --device cpu", "cannot be used on"),
        ("adapt tiny_network:net images -o run --truth images/truth", "keep the masks in a folder"),
        ("adapt tiny_network:net images -o run --set cutoff=0.3", "give it as --cutoff"),
        ("adapt tiny_network:net images -o run --truth gone", "There is no folder or file gone"),
        ("adapt tiny_network:net images -o run --set epoch=5", "Did you mean 'epochs'? Known: cut"),
        ("adapt tiny_network:net images -o run --set margin=5", "margin is 5"),
        ("adapt tiny_network:net images -o run --part 1/2", "looks at all images"),
        ("adapt tiny_network:net images -o run --source gone.npz", "There is no file gone.npz"),
        ("adapt tiny_network:net images -o run --evaluator overlap", "masks; give --truth"),
        ("source source -o stats.csv", "its name must end in .npz"),
        ("source source -o stats.npz --weights net.safetensors", "no --model that they are for"),
    ],
)
def test_what_cannot_be_done_is_said(line: str, said: str, folders: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    message = error_of(line)
    assert said in message
    assert ("go on with --force" in message) == ("random" in said)
    assert not (folders / "run").exists()


@pytest.mark.torch
def test_parts_are_named_in_place_of_a_recipe(folders: Path, weights: Path) -> None:
    assert weights.exists()
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    line = (
        "adapt tiny_network:net images -o run --weights net.safetensors --device cpu --seed 3 "
        "--selector soft-dice --set selector.min_pixels=1 --set selector.top_k=4 "
        "--retrainer fine-tune --set retrainer.options.epochs=1 --set retrainer.options.patience=2 "
        "--gate do-no-harm --set gate.max_samples=2 "
        "--truth truth --truth-label 255 --evaluator overlap --set evaluator.empty=0.0"
    )
    adapted = pladapt(line)
    assert adapted.exit_code in (0, 3), adapted.output
    run = read_run(folders / "run")
    assert run.recalibration is None
    assert len(run.rounds[0].selection.kept) == 4
    assert run.rounds[0].judgement is not None
    assert set(run.before) == {"truth", "overlap"}
    config = json.loads((folders / "run/run.json").read_text())
    said = json.dumps(config)
    assert "SoftDiceSelector" in said
    assert '"seed": 3' in said
    assert '"epochs": 1' in said
    assert '"max_samples": 2' in said


@pytest.mark.torch
def test_borders_of_adapt_are_in_the_mm_of_the_files(folders: Path, weights: Path) -> None:
    assert weights.exists()
    nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")
    affine = np.diag([0.5, 0.8, 3, 1])  # X, Y, Z
    for place in ("slices", "masks"):
        (folders / place).mkdir()
    for index, (image, mask) in enumerate(lesions()):
        for place, array in (("slices", image), ("masks", mask)):
            volume = nibabel.Nifti1Image(array.T[:, :, None], affine)
            volume.to_filename(folders / place / f"{index}.nii.gz")
    line = (
        "adapt tiny_network:net slices -o run --weights net.safetensors --device cpu --cutoff 0.4 "
        "--selector soft-dice --set selector.min_pixels=1 --set selector.top_k=2 "
        "--retrainer fine-tune --set retrainer.options.epochs=1 "
        "--truth masks --evaluator detail --set evaluator.surface=0.4"
    )
    adapted = pladapt(line)
    assert adapted.exit_code in (0, 3), adapted.output
    found = read_run(folders / "run").before["detail"]
    assert found.notes["hd95_unit"] == "mm"
    # the network marks each lesion a pixel further to the right: 0.5 mm, of borders of 44 pixels
    # each, in 12 + 10 of which nothing else is nearer
    assert found.value("hd95", aggregation="sample") == pytest.approx(0.5)
    assert found.value("nsd", aggregation="sample") < 0.8


@pytest.mark.torch
@pytest.mark.parametrize(
    "line",
    ["bright --activation none", "bright --argument channels=2 --activation none --channel 1"],
)
def test_a_network_of_probabilities_is_adapted_where_it_is_said(folders: Path, line: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from pladapt.torch import load_predictor

    name, _, options = line.partition(" ")
    given = f"adapt tiny_network:{name} images -o run --device cpu {options} --set train=false"
    adapted = pladapt(f"{given} --truth truth --truth-label 255")
    assert adapted.exit_code == 3, adapted.output  # it has no batch normalisation
    evaluation = read_run(folders / "run").before["truth"].summary.to_pylist()
    pooled = {row["metric"]: row["mean"] for row in evaluation if row["aggregation"] == "pooled"}
    assert pooled["dsc"] == pytest.approx(2 * 16 / (16 + 49))  # the cores, of all of the lesions
    loaded = load_predictor(folders / "run/adapted", device="cpu")
    assert loaded.predict(np.zeros((1, 1, 16, 16), np.float32)).shape == (1, 1, 16, 16)


@pytest.mark.torch
def test_images_in_their_own_units_and_of_several_sizes_are_adapted(
    folders: Path, weights: Path, write: Write
) -> None:
    from pladapt.torch import load_predictor

    for index, (image, _) in enumerate(faint()):
        own = 1000 * image[: 32 - 3 * (index % 2), : 32 - index // 3]
        write(folders / f"images/p{index}_{index}.npy", own)
    refused = error_of(f"{KNOWN} --output other")
    assert "nothing prepares them" in refused
    assert "--window LOW HIGH" in refused
    assert "go on with --force" in refused
    for index, (image, _) in enumerate(lesions()):
        write(folders / f"source/{index}.npy", 1000 * image)
    prepare = "--prepare scale=0.001 --prepare multiple_of=8"
    line = f"source source -o own.npz --model tiny_network:net --device cpu --cutoff 0.4 {prepare}"
    measured = pladapt(f"{line} --weights net.safetensors")
    assert measured.exit_code == 0, measured.output
    adapted = pladapt(f"{ADAPT} {QUICK} --source own.npz {prepare}")
    assert adapted.exit_code == 0, adapted.output
    assert "6 of 6 target samples were retrained on in 1 round" in adapted.stdout
    loaded = load_predictor(folders / "run/adapted", device="cpu")
    image, mask = faint()[0]
    found = np.asarray(loaded.predict(1000 * image[None, None]))[0, 0] > 0.4
    assert 2 * np.sum(found & (mask > 0)) / (found.sum() + mask.sum()) > 0.8
    assert "Known are library, transform" in error_of(f"{KNOWN} --prepare patch=[8,8]")


@pytest.mark.torch
def test_images_of_another_spacing_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from pladapt.cli.modules import look_at
    from pladapt.files.reading import Loaded
    from pladapt.torch import Network

    class Volumes(list[Sample]):
        def __init__(self, x: float) -> None:
            super().__init__([Sample("s", "g", torch.rand(1, 8, 8))])
            affine = np.diag([x, 0.5, 2.5, 1])
            self.outlines = {
                "a.nii.gz": Loaded(np.zeros((1, 1, 8, 8)), stacked=True, affine=affine)
            }

    module = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(module.weight, 8)
    torch.nn.init.constant_(module.bias, -4)
    network = Network(module=module, spacing=(0.5, 0.8))
    look_at(
        network.reading("sigmoid"), network.predictor("cpu", activation="sigmoid"), Volumes(0.82)
    )
    with pytest.raises(InputError, match=r"spacing \[0\.5, 1\.0\] mm, .* at \[0\.5, 0\.8\] mm"):
        look_at(network, network.predictor("cpu"), Volumes(1.0))
    with pytest.warns(UserWarning, match=r"spacing \[0\.5, 1\.0\] mm"):
        look_at(network, network.predictor("cpu"), Volumes(1.0), force=True)


class Pictures(list[Sample]):
    """Samples of which one alone, not among those looked at first, has something bright."""

    def __init__(self, *, bright: int) -> None:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        images = torch.zeros(16, 1, 4, 4)
        images[:bright] += torch.eye(4)
        super().__init__(Sample(str(at), "g", image) for at, image in enumerate(images.roll(1, 0)))


@pytest.mark.torch
def test_a_network_that_marks_nothing_is_refused_unless_it_is_forced() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from pladapt.cli.modules import look_at
    from pladapt.torch import Network

    module = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(module.weight, 8)
    torch.nn.init.constant_(module.bias, -4)
    network = Network(module=module).reading("sigmoid")
    predictor = network.predictor("cpu")
    look_at(network, predictor, Pictures(bright=1))
    with pytest.raises(InputError, match=r"nothing is foreground .* go on with --force"):
        look_at(network, predictor, Pictures(bright=0))
    with pytest.warns(UserWarning, match="nothing is foreground"):
        look_at(network, predictor, Pictures(bright=0), force=True)
    with pytest.raises(InputError, match=r"values reach from 0 to 255.* go on with --force"):
        look_at(network, predictor, [Sample(s.id, "g", s.image * 255) for s in Pictures(bright=9)])


@pytest.mark.torch
def test_weights_of_lightning_are_read(folders: Path, weights: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import load_file

    from pladapt.cli.modules import NetworkOptions

    state = load_file(weights)
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in state.items()}, "epoch": 1},
        folders / "last.ckpt",
    )
    made = NetworkOptions(weights=folders / "last.ckpt").module("tiny_network:net").state_dict()
    assert all(torch.equal(made[name], value) for name, value in state.items())


def test_samples_are_read_as_score_reads_them(tmp_path: Path, write: Write) -> None:
    rng = np.random.default_rng(0)
    stack = rng.random((3, 4, 5), np.float32)
    write(tmp_path / "images/a/case.npy", stack)
    write(tmp_path / "images/b.npy", rng.random((3, 4, 5), np.float32))
    (tmp_path / "images/torn.npy").write_bytes(b"")
    layout = ImageLayout(axes="ZYX", window=(0.0, 2.0))
    read = read_samples(
        Files.find(tmp_path / "images"), layout=layout, grouping=Grouping(), memory=1
    )
    samples, problems = read
    assert [problem.name for problem in problems] == ["torn"]
    assert [samples[i].id for i in range(len(samples))] == [
        *(f"a/case/z00{z}" for z in range(3)),
        *(f"b/z00{z}" for z in range(3)),
    ]
    assert {samples[i].group for i in range(3)} == {"a/case"}
    assert type(samples[-1]) is Sample
    assert samples[-1].id == "b/z002"
    np.testing.assert_allclose(samples[1].image, stack[None, 1] / 2)
    with pytest.raises(DataError, match="torn: It cannot be read"):
        read_samples(
            Files.find(tmp_path / "images"), layout=layout, grouping=Grouping(), on_error="raise"
        )
    with pytest.raises(IndexError):
        samples[6]


def test_truth_is_matched_by_name_and_shape(tmp_path: Path, write: Write) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"images/{name}.npy", np.zeros((4, 5), np.float32))
    masks = {"a": np.eye(4, 5, dtype=np.uint8), "c": np.zeros((5, 4), np.uint8)}
    for name, mask in (masks | {"d": masks["a"]}).items():
        write(tmp_path / f"truth/{name}.npy", mask)
    samples, _ = read_samples(
        Files.find(tmp_path / "images"), layout=ImageLayout(), grouping=Grouping()
    )
    truth = Files.find(tmp_path / "truth")
    labelled, problems = read_truth(samples, truth, layout=MaskLayout())
    assert len(labelled) == 1
    assert (labelled[0].id, type(labelled[0])) == ("a", LabelledSample)
    np.testing.assert_array_equal(labelled[0].mask, masks["a"])
    said = dict(problems)
    assert said.keys() == {"b", "c", "d"}
    assert "There is no truth of this name" in said["b"]
    assert "of shape (4, 5), and the truth 1, the first of shape (5, 4)" in said["c"]
    assert "no image of this name" in said["d"]
    with pytest.raises(DataError, match="b: There is no truth"):
        read_truth(samples, truth, layout=MaskLayout(), on_error="raise")
    (tmp_path / "truth/a.npy").unlink()
    with pytest.raises(DataError, match="can be used"):
        read_truth(samples, Files.find(tmp_path / "truth"), layout=MaskLayout())
