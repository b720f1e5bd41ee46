"""What a person says of a run's masks: the order of the samples, the answers, and what is drawn."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pladapt
import pladapt.review
from pladapt import DataError, InputError
from pladapt.errors import BusyError, MissingDataError
from pladapt.review import Review, Stroke, leases, ordering
from pladapt.review.journal import Journal, drawn, runs_between
from pladapt.runs.manifest import open_run

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from numpy.typing import NDArray


@pytest.fixture
def run(toy: SimpleNamespace, tmp_path: Path) -> Path:
    pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), workdir=tmp_path / "run")
    return tmp_path / "run"


def square(first: int = 2, last: int = 5) -> NDArray[np.uint8]:
    mask = np.zeros((6, 6), np.uint8)
    mask[first:last, first:last] = 1
    return mask


# the order


def embeddings(*kinds: tuple[int, int]) -> NDArray[np.float64]:
    """So many masks of each kind, which differ a little among themselves."""
    rows = [[10.0 * kind + 0.01 * n, 0.0] for kind, count in kinds for n in range(count)]
    return np.array(rows)


def test_one_of_neighbours_stands_for_all_of_them() -> None:
    alike = ordering.likeness(embeddings((0, 5), (1, 5), (2, 5)), ["a"] * 15)
    chosen = ordering.in_order(np.ones(15), alike, 3)
    assert sorted(index // 5 for index in chosen) == [0, 1, 2]


def test_groups_are_gone_round() -> None:
    groups = [*"aaaabbbbcccc"]
    alike = ordering.likeness(np.zeros((12, 2)), groups)
    chosen = ordering.in_order(np.ones(12), alike, 3)
    assert {groups[index] for index in chosen} == {*"abc"}


def test_the_doubtful_come_first_and_a_larger_crowd_before_a_smaller() -> None:
    alike = ordering.likeness(embeddings((0, 4), (1, 4)), ["a"] * 8)
    doubt = np.array([0.1] * 4 + [1.0] * 4)
    assert ordering.in_order(doubt, alike, 1)[0] >= 4
    crowd = ordering.likeness(embeddings((0, 2), (1, 9)), ["a"] * 11)
    assert ordering.in_order(np.ones(11), crowd, 1)[0] >= 2


def test_what_was_looked_at_counts_as_covered() -> None:
    alike = ordering.likeness(embeddings((0, 9), (1, 3)), ["a"] * 12)
    assert ordering.in_order(np.ones(12), alike, 1, done=[0])[0] >= 9


def test_doubt_goes_by_rank_whatever_the_scale() -> None:
    scores = [0.9, None, 0.2, 0.5]
    found = ordering.doubts(scores)
    assert found.tolist() == pytest.approx([1 / 3, 0.5, 1, 2 / 3])
    np.testing.assert_array_equal(found, ordering.doubts([9000, None, -1, 0]))


def test_many_pixels_of_a_middling_score_are_more_doubtful_than_a_speck_of_a_low_one() -> None:
    found = ordering.doubtful_pixels([0.2, 0.7, None, 1.0, 0.9], [3, 400, 40, 500, 0])
    assert np.argsort(-found).tolist() == [1, 2, 0, 4, 3]
    assert (found > 0).all()
    assert found[1] == pytest.approx(0.3 * 401, rel=1e-3)


def test_scores_of_another_scale_go_by_rank() -> None:
    found = ordering.doubtful_pixels([-9.0, -1.0, None], [9, 9, 9])
    np.testing.assert_allclose(found, 10 * ordering.doubts([-9.0, -1.0, None]), rtol=1e-3)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.integers(1, 9), st.data())
def test_each_sample_comes_once_and_none_that_was_done(
    groups: list[str], n: int, data: st.DataObject
) -> None:
    size = len(groups)
    values = st.floats(0, 1, width=32)
    points = np.array([[data.draw(values)] for _ in range(size)])
    doubt = np.array([data.draw(values) for _ in range(size)])
    done = data.draw(st.lists(st.integers(0, size - 1), unique=True))
    chosen = ordering.in_order(doubt, ordering.likeness(points, groups), n, done)
    assert len({*chosen}) == len(chosen) == min(n, size - len(done))
    assert not {*chosen} & {*done}


def test_the_queue_of_a_run_leaves_out_what_was_answered(run: Path) -> None:
    every = pladapt.review.queue(run)
    assert sorted(every) == [f"s{number}" for number in range(7)]
    assert pladapt.review.queue(run, 3) == every[:3]
    review = Review(run, who="Ann")
    review.accept(every[0])
    assert every[0] not in pladapt.review.queue(run)
    assert sorted(review.queue(9)) == sorted(every[1:])
    with pytest.raises(InputError, match="n is 0"):
        pladapt.review.queue(run, 0)


def test_a_folder_without_a_run_or_without_masks_says_so(tmp_path: Path, run: Path) -> None:
    with pytest.raises(MissingDataError, match=r"run\.json"):
        pladapt.review.queue(tmp_path / "none")
    (run / "round-1" / "labels" / "labels.parquet").unlink()
    with pytest.raises(MissingDataError, match="no masks to review"):
        Review(run, who="Ann")


def test_where_labels_chose_the_candidate_that_they_started_from_is_reviewed(
    tmp_path: Path, run: Path
) -> None:
    open_run(tmp_path / "chosen", {"chooser": "few labels", "start": "robust"})
    shutil.copytree(run, tmp_path / "chosen" / "candidates" / "robust")
    assert pladapt.review.queue(tmp_path / "chosen") == pladapt.review.queue(run)
    review = Review(tmp_path / "chosen", who="Ann")
    review.accept("s1")
    assert [*review.answers] == ["s1"]
    assert "s1" not in pladapt.review.queue(tmp_path / "chosen")


# answers


def test_answers_are_in_the_run_folder_for_whoever_looks(run: Path) -> None:
    review = Review(run, who=" Ann ")
    model = review.mask("s1")
    review.accept("s1", seconds=3)
    review.correct("s2", square() > 0, seconds=20)
    review.reject("s3")
    found = Review(run, who="Bo").answers
    assert {id_: answer.decision for id_, answer in found.items()} == {
        "s1": "accepted",
        "s2": "corrected",
        "s3": "rejected",
    }
    assert {answer.who for answer in found.values()} == {"Ann"}
    assert found["s2"].seconds == 20
    assert found["s2"].at.endswith("+00:00")
    np.testing.assert_array_equal(found["s1"].mask, model)
    np.testing.assert_array_equal(found["s2"].mask, square())
    assert found["s3"].mask is None
    np.testing.assert_array_equal(review.mask("s2"), square())


def test_what_does_not_fit_is_refused(run: Path) -> None:
    review = Review(run, who="Ann")
    with pytest.raises(InputError, match=r"bool of shape \(2, 2\); expected .* \(6, 6\)"):
        review.correct("s1", np.ones((2, 2), bool))
    with pytest.raises(InputError, match="float64"):
        review.correct("s1", np.ones((6, 6)))
    with pytest.raises(InputError, match="holds 0 to 300"):
        review.correct("s1", square().astype(int) * 300)
    for act in (review.accept, review.reject, review.undo, review.mask, review.hold):
        with pytest.raises(InputError, match="no sample 'x'"):
            act("x")  # type: ignore[operator]
    with pytest.raises(InputError, match="no name"):
        Review(run, who=" ")
    assert not review.answers


def test_a_damaged_answer_is_named(run: Path) -> None:
    Review(run, who="Ann").accept("s1")
    (path,) = (run / "review" / "answers").iterdir()
    path.write_text(path.read_text().replace("Ann", "Eve"))
    with pytest.raises(DataError, match="delete it, and review this sample again"):
        Review(run, who="Ann").answers  # noqa: B018 - it is read then


# drawing


def dot(key: str, at: int, value: int = 1) -> Stroke:
    return Stroke(key, ((at, 1, value),))


def test_strokes_are_kept_taken_back_and_counted_once(run: Path) -> None:
    review = Review(run, who="Ann", session="a")
    model = review.mask("s1").copy()
    for stroke in (dot("one", 0), dot("two", 1), dot("two", 1), dot("three", 2)):
        review.draw("s1", stroke)
    review.undo("s1")
    found = Review(run, who="Ann", session="a").mask("s1")  # as after a restart
    np.testing.assert_array_equal(found.ravel()[:3], [1, 1, 0])
    np.testing.assert_array_equal(found.ravel()[3:], model.ravel()[3:])
    for _ in range(5):
        review.undo("s1")
    np.testing.assert_array_equal(review.mask("s1"), model)
    review.draw("s1", dot("one", 0))  # it was taken back: sent again it stays so
    np.testing.assert_array_equal(review.mask("s1"), model)


def test_a_drawn_mask_that_is_right_is_corrected_and_undo_reopens_it(run: Path) -> None:
    review = Review(run, who="Ann")
    review.draw("s1", dot("one", 0))
    review.accept("s1")
    assert review.answers["s1"].decision == "corrected"
    review.undo("s1")
    assert not review.answers
    assert review.mask("s1").ravel()[0] == 1
    review.accept("s1")
    review.draw("s1", dot("two", 1))
    assert not review.answers, "the answer was to another mask"


@pytest.mark.parametrize("runs", [((35, 2, 1),), ((-1, 1, 1),), ((0, 0, 1),), ((0, 1, 256),)])
def test_strokes_beyond_the_mask_are_refused(run: Path, runs: Any) -> None:
    with pytest.raises(InputError, match="expected pixels of 0 to 35"):
        Review(run, who="Ann").draw("s1", Stroke("one", runs))
    with pytest.raises(InputError, match="the key"):
        Review(run, who="Ann").draw("s1", dot("../x", 0))


def test_a_line_cut_off_by_a_kill_is_dropped_and_no_other(run: Path) -> None:
    review = Review(run, who="Ann")
    review.draw("s1", dot("one", 0))
    review.draw("s1", dot("two", 1))
    path = Journal(run, "s1").path
    whole = path.read_bytes()
    for length in range(1, 20):
        path.write_bytes(whole[:-length])
        assert review.mask("s1").ravel()[:2].tolist() == [1, 0]
    review.draw("s1", dot("three", 2))
    assert review.mask("s1").ravel()[:3].tolist() == [1, 0, 1]
    path.write_bytes(whole.replace(b'"one"', b'"eno"', 1))
    with pytest.raises(DataError, match="line 2, is damaged"):
        review.mask("s1")


@given(st.data())
def test_a_stroke_makes_any_mask_of_any_other(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    masks = hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255]))
    before, after = data.draw(masks), data.draw(masks)
    stroke = Stroke("any", runs_between(before, after))
    stroke.check(before.size)
    np.testing.assert_array_equal(drawn(before, [stroke]), after)


# two people


def test_a_sample_has_one_writer_until_it_is_let_go(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bo = Review(run, who="Ann"), Review(run, who="Bo")
    ann.draw("s1", dot("one", 0))
    for act in (bo.accept, bo.reject, bo.undo, bo.hold):
        with pytest.raises(BusyError, match="Ann is at 's1'"):
            act("s1")
    bo.accept("s2")
    ann.let_go("s1")
    bo.hold("s1")
    bo.let_go("s1")
    ann.hold("s1")
    now = leases.time.time()
    monkeypatch.setattr(leases.time, "time", lambda: now + leases.LEASE + 1)
    bo.accept("s1")  # Ann closed the page
    assert bo.answers["s1"].who == "Bo"


def test_an_answer_lets_the_sample_go(run: Path) -> None:
    Review(run, who="Ann").accept("s1")
    Review(run, who="Bo").reject("s1")
    assert Review(run, who="Bo").answers["s1"].decision == "rejected"


def test_many_at_once_lose_nothing(run: Path) -> None:
    def work(number: int) -> None:
        review = Review(run, who=f"person {number}")
        for at in range(5):
            review.draw(f"s{number}", dot(f"k{at}", at))
        review.accept(f"s{number}")

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = Review(run, who="Ann").answers
    assert sorted(answers) == ["s0", "s1", "s2", "s3"]
    assert all(answer.mask.ravel()[:5].all() for answer in answers.values())
