"""The page in a browser: what a person does there is in the run, whatever becomes of the server."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pladapt
from pladapt.cli.reading import Reading
from pladapt.cli.run_images import note_images
from pladapt.files import Files, Grouping, ImageLayout, read_samples
from pladapt.review import Review

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
SIZE = 40


@dataclass
class Bright:
    """A predictor that marks what is brighter than a half."""

    shift: float = 0.0

    def predict(self, images: Any, /) -> Any:
        return np.clip(np.asarray(images) + self.shift, 0, 1)


class Noting:
    """A retrainer that keeps what it is taught with."""

    def __init__(self) -> None:
        self.labels: dict[str, Any] = {}

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        self.labels = {labels[n].id: labels[n].label for n in range(len(labels))}
        return replace(predictor, shift=predictor.shift + 0.01)

    def describe(self) -> str:
        return "noting"


def adapt(folder: Path) -> tuple[Any, Noting]:
    layout, retrainer = ImageLayout(), Noting()
    samples, _ = read_samples(Files.find(folder / "images"), layout=layout, grouping=Grouping())
    selector = pladapt.CertaintyIndexSelector(min_pixels=1)
    parts = {"selector": selector, "retrainer": retrainer, "workdir": folder / "run"}
    return pladapt.adapt(Bright(), samples, **parts), retrainer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        image = 0.2 * rng.random((SIZE, SIZE), np.float32)
        image[4:12, 4 : 10 + number] += 0.6
        np.save(tmp_path / "images" / f"i{number}.npy", image)
    adapt(tmp_path)
    note_images(tmp_path / "run", tmp_path / "images", Reading())
    return tmp_path / "run"


class Server:
    """The command, which can be killed and started again at the same port."""

    def __init__(self, run: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._arguments = [sys.executable, "-m", "pladapt", "review", str(run), "--who", "Ann"]
        self._arguments += ["--no-open", "--port", str(self.port)]
        self.address = ""

    def start(self) -> None:
        self._process = subprocess.Popen(self._arguments, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://\S+", line):
                self.address = found[0]
                return
        raise AssertionError("it ended without an address")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    made = Server(run)
    made.start()
    yield made
    made.kill()


@pytest.fixture(params=[(1280, 800, "light"), (390, 844, "dark")], ids=["wide", "narrow"])
def page(request: pytest.FixtureRequest) -> Iterator[Any]:
    width, height, scheme = request.param
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        size = {"width": width, "height": height}
        made = browser.new_page(viewport=size, color_scheme=scheme)
        made.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield made
        browser.close()


def shown(page: Any, id_: str) -> None:
    expect(page.locator("#title")).to_contain_text(id_)
    expect(page.locator("#order [aria-current]")).to_have_text(id_)


def at(page: Any, x: int, y: int) -> tuple[float, float]:
    """Where on the page a pixel of the image is, as it lies there first."""
    box = page.locator("#view").bounding_box()
    scale = min(box["width"], box["height"]) / SIZE
    left = box["x"] + (box["width"] - scale * SIZE) / 2
    top = box["y"] + (box["height"] - scale * SIZE) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def begin(page: Any, *places: tuple[int, int]) -> None:
    page.mouse.move(*at(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*at(page, *place), steps=4)


def until(page: Any, holds: Callable[[], Any]) -> None:
    """Wait for what the page has sent, while it goes on."""
    for _ in range(300):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"it did not come; the page says: {page.locator('body').inner_text()}")


def marked(review: Review, id_: str, rows: slice | int, columns: slice | int) -> Callable[[], bool]:
    """Return what tells whether these pixels are all marked."""
    return lambda: bool(review.mask(id_)[rows, columns].all())


def test_a_review_from_the_first_look_to_the_next_round(  # noqa: PLR0915 - one review
    run: Path, server: Server, page: Any
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    first, second, third, fourth = pladapt.review.queue(run)
    review = Review(run, who="Bo")
    model = review.mask(third)

    page.goto(server.address)
    shown(page, first)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("a")
    shown(page, second)
    page.keyboard.press("r")
    shown(page, third)
    decisions = {id_: answer.decision for id_, answer in review.answers.items()}
    assert decisions == {first: "accepted", second: "rejected"}

    # draw, undo, draw, reload
    begin(page, (20, 30), (30, 30))
    page.mouse.up()
    until(page, marked(review, third, 30, slice(20, 31)))
    page.keyboard.press("u")
    until(page, lambda: np.array_equal(review.mask(third), model))
    begin(page, (20, 30), (30, 30))
    page.mouse.up()
    until(page, marked(review, third, 30, slice(20, 31)))
    page.reload()
    shown(page, third)
    expect(page.locator("#title")).to_contain_text("drawn on")

    # the server is killed in mid-stroke
    begin(page, (30, 20), (32, 20))
    server.kill()
    page.mouse.move(*at(page, 36, 20), steps=3)
    page.mouse.up()
    expect(page.locator("#saved")).to_contain_text("1 not saved yet")
    assert not review.mask(third)[20, 30:37].any()
    server.start()
    page.wait_for_timeout(3000)  # the page that is still open asks with an address of before
    expect(page.locator("#saved")).to_contain_text("1 not saved yet")
    page.goto(server.address)
    until(page, marked(review, third, 20, slice(30, 37)))
    expect(page.locator("#saved")).to_have_text("Saved")
    assert review.mask(third)[30, 20:31].all()

    # by the keyboard alone: the cross is in the middle
    page.keyboard.press("e")
    page.locator("#view").focus()
    page.keyboard.press("b")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    until(page, lambda: review.mask(third)[30, 20])
    drawn = review.mask(third)
    page.keyboard.press("a")
    until(page, lambda: third in review.answers)
    assert review.answers[third].decision == "corrected"
    assert review.answers[third].who == "Ann"
    shown(page, fourth)
    assert all(url.startswith(f"http://127.0.0.1:{server.port}/") for url in asked)
    assert not errors

    result, retrainer = adapt(run.parent)
    assert [each.number for each in result.rounds] == [1, 2]
    np.testing.assert_array_equal(retrainer.labels[third], drawn)
    assert second not in retrainer.labels


def test_fill_polygon_components_and_another_candidate_s_mask(
    run: Path, server: Server, page: Any
) -> None:
    first = pladapt.review.queue(run)[0]
    review = Review(run, who="Bo")
    model = review.mask(first)
    page.goto(server.address)
    shown(page, first)
    page.keyboard.press("g")
    for place in ((20, 20), (36, 20), (36, 36), (20, 36)):
        page.mouse.click(*at(page, *place))
    page.keyboard.press("Enter")
    until(page, marked(review, first, slice(22, 35), slice(22, 35)))
    page.keyboard.press("k")
    page.mouse.click(*at(page, 28, 28))
    until(page, lambda: not review.mask(first)[:15].any())
    page.keyboard.press("d")
    page.mouse.click(*at(page, 28, 28))
    until(page, lambda: not review.mask(first).any())
    page.keyboard.press("f")
    page.mouse.click(*at(page, 1, 1))
    until(page, lambda: review.mask(first).all())
    page.locator("#candidate").select_option("round-1")
    expect(page.locator("#differences")).to_contain_text("Blue:")
    page.locator("#take").click()
    until(page, lambda: np.array_equal(review.mask(first), model))
    page.keyboard.press("t")
    begin(page, (5, 8), (30, 8))  # from within the bright part, out of it
    page.mouse.up()
    until(page, lambda: page.locator("#saved").text_content() == "Saved")
    np.testing.assert_array_equal(review.mask(first), model)  # nothing dark was marked


def test_a_sample_that_somebody_else_is_at_is_theirs(run: Path, server: Server, page: Any) -> None:
    first = pladapt.review.queue(run)[0]
    bo = Review(run, who="Bo")
    bo.hold(first)
    model = bo.mask(first)
    page.goto(server.address)
    expect(page.locator("#message")).to_contain_text("Bo is at")
    begin(page, (20, 30), (30, 30))
    page.mouse.up()
    expect(page.locator("#saved")).to_have_text("Saved")
    np.testing.assert_array_equal(bo.mask(first), model)
