"""What the review's server answers, to whom, and the commands around it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

import pladapt
from pladapt.cli.application import application as commands
from pladapt.cli.reading import Reading
from pladapt.cli.run_images import note_images
from pladapt.errors import BusyError, InputError
from pladapt.files import Files, Grouping, ImageLayout, read_samples
from pladapt.review import Review
from pladapt.review.masks import predict_candidate
from pladapt.review.server import Desk, application, serve

if TYPE_CHECKING:
    from pathlib import Path

client = pytest.importorskip("starlette.testclient", reason="the review extra is not installed")

TOKEN = "secret-of-this-start"  # noqa: S105 - of a test
EMPTY = np.zeros((6, 8), np.uint8)


class Same:
    """A retrainer that learns nothing."""

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        assert len(labels)
        return predictor


@pytest.fixture
def run(brightness: Any, tmp_path: Path) -> Path:
    """A run on three pictures, of which each has a bright spot."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        image = np.full((6, 8), 0.1, np.float32)
        image[1:4, 2 : 4 + number] = 0.9
        np.save(tmp_path / "images" / f"i{number}.npy", image)
    selector = pladapt.CertaintyIndexSelector(min_pixels=1)
    parts = {"selector": selector, "retrainer": Same(), "workdir": tmp_path / "run"}
    pladapt.adapt(brightness(), samples_of(tmp_path), **parts)
    note_images(tmp_path / "run", tmp_path / "images", Reading())
    return tmp_path / "run"


def samples_of(folder: Path) -> Any:
    found = Files.find(folder / "images")
    return read_samples(found, layout=ImageLayout(), grouping=Grouping())[0]


@pytest.fixture
def page(run: Path) -> Any:
    samples = samples_of(run.parent)
    positions = {place.id: position for position, place in enumerate(samples.places)}
    app = application(Desk(run, samples, positions, who="Ann", count=2), TOKEN)
    return client.TestClient(app, base_url=f"http://127.0.0.1/{TOKEN}/")


def test_the_page_is_whole_and_may_ask_nobody_else(page: Any) -> None:
    for name, kind in (("", "html"), ("review.js", "javascript"), ("review.css", "css")):
        answer = page.get(name)
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]
        assert "http" not in answer.text.replace("http-equiv", "")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


def test_nobody_without_the_token_gets_anything(page: Any) -> None:
    for path in ("/", "/api/queue", "/wrong/api/queue", f"/{TOKEN}x/api/queue", "/review.js"):
        assert page.get(f"http://127.0.0.1{path}").status_code == 404
    assert page.get("api/queue", headers={"host": "elsewhere.example"}).status_code == 404
    assert page.get("api/queue").status_code == 200


def test_the_page_is_told_what_there_is(page: Any, run: Path) -> None:
    queue = page.get("api/queue").json()
    assert queue["order"] == pladapt.review.queue(run, 2)
    assert queue["samples"] == ["i0", "i1", "i2"]
    sample = page.get("api/sample", params={"id": "i1"}).json()
    assert sample["shape"] == [1, 6, 8]
    assert sample["candidates"] == ["round-1"]
    image = np.frombuffer(page.get("api/image", params={"id": "i1"}).content, "<f4")
    np.testing.assert_array_equal(image.reshape(6, 8), np.load(run.parent / "images" / "i1.npy"))
    mask = np.frombuffer(page.get("api/mask", params={"id": "i1"}).content, np.uint8)
    np.testing.assert_array_equal(mask.reshape(6, 8), image.reshape(6, 8) > 0.5)


def test_what_is_said_on_the_page_is_in_the_run(page: Any, run: Path) -> None:
    said = {"id": "i1", "session": "a"}
    stroke = {**said, "key": "one", "runs": [[0, 8, 1]]}
    for _ in range(2):  # sent again since the answer was lost
        assert page.post("api/stroke", json=stroke).json()["strokes"] == 1
    answered = page.post("api/answer", json={**said, "decision": "accept", "seconds": 12})
    assert answered.json()["decision"] == "corrected"
    (answer,) = Review(run, who="Bo").answers.values()
    assert (answer.id, answer.who, answer.seconds) == ("i1", "Ann", 12)
    assert answer.mask is not None
    assert answer.mask[0].all()
    for _ in range(2):
        undone = page.post("api/undo", json=said).json()
    assert (undone["decision"], undone["strokes"]) == (None, 0)
    page.post("api/answer", json={**said, "decision": "reject"})
    assert page.get("api/queue").json()["decisions"] == {"i1": "rejected"}


def test_errors_say_what_is_wrong(page: Any) -> None:
    wrong = [
        ("sample", {"id": "x"}, 400, "no sample 'x'"),
        ("image", {"id": "x"}, 404, "no image of 'x'"),
        ("image", {"id": "i1", "plane": "9"}, 200, ""),  # a picture has one plane whatever is said
        ("mask", {"id": "i1", "candidate": "y"}, 400, "no candidate 'y'"),
        ("sample", {}, 400, "KeyError"),
    ]
    for name, query, status, text in wrong:
        answer = page.get(f"api/{name}", params=query)
        assert answer.status_code == status
        assert text in answer.text
    bad = {"id": "i1", "session": "a", "key": "one", "runs": [[47, 2, 1]]}
    assert page.post("api/stroke", json=bad).status_code == 400
    assert page.post("api/stroke", content=b"{").status_code == 400
    wrong_answer = {"id": "i1", "session": "a", "decision": "maybe"}
    assert "accept or reject" in page.post("api/answer", json=wrong_answer).text


def test_two_pages_have_one_writer(page: Any) -> None:
    one, other = ({"id": "i1", "session": session} for session in "ab")
    assert page.post("api/hold", json=one).status_code == 200
    refused = page.post("api/stroke", json={**other, "key": "k", "runs": [[0, 1, 1]]})
    assert refused.status_code == 409
    assert "Ann is at 'i1'" in refused.json()["error"]
    page.post("api/leave", json=one)
    assert page.post("api/hold", json=other).status_code == 200


def test_another_predictor_s_masks_are_a_candidate(run: Path, brightness: Any, page: Any) -> None:
    predict_candidate(brightness(shift=0.5), samples_of(run.parent), run, "adapted")
    review = Review(run, who="Ann")
    others = review.masks.others("i1")
    assert [*others] == ["round-1", "adapted"]
    assert others["adapted"].all()
    np.testing.assert_array_equal(review.mask("i1"), others["round-1"])


def test_a_port_that_is_taken_is_named(page: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=rf"Port {port} .* give another \(--port\)"):
            serve(page.app, port, ready=lambda: pytest.fail("it does not listen"))


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(commands(), [str(each) for each in arguments])


def test_labels_go_and_come_by_commands(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("labels", "export", run, "--to", "png", "-o", out, "-n", 2)
    assert result.exit_code == 0, result.output
    assert "Masks of 2 images" in result.output
    Review(run, who="Bo").correct("i1", EMPTY)
    Review(run, who="Bo").correct("i2", EMPTY)
    result = invoke("labels", "import", run, out, "--who", "Ann", "--unchanged")
    assert result.exit_code == 0, result.output
    found = Review(run, who="Ann").answers
    assert sum(answer.who == "Ann" for answer in found.values()) == 2
    everything = invoke("labels", "export", run, "--to", "coco", "-o", tmp_path / "all", "--all")
    assert "Masks of 3 images" in everything.output


def test_images_elsewhere_have_to_be_given(run: Path, tmp_path: Path) -> None:
    (run / "images.json").unlink()
    arguments = ["labels", "export", run, "--to", "png", "-o", tmp_path / "out"]
    result = invoke(*arguments)
    assert isinstance(result.exception, InputError)
    assert "does not say where its images are" in str(result.exception)
    moved = [*arguments[:3], run.parent / "images", *arguments[3:]]
    assert invoke(*moved).exit_code == 0
