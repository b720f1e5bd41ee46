"""What becomes of a sample that cannot be used: it is left out, up to a limit, or ends the work."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from pladapt.data.batches import batches, check_rank
from pladapt.errors import (
    DataError,
    DeviceError,
    DiskFullError,
    InputError,
    LabelledTargetError,
    MissingDependencyError,
    OutputError,
    RunChangedError,
)
from pladapt.functional.numbers import plain
from pladapt.plugins.guard import guarded
from pladapt.types import LabelledSample, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from pladapt.types import Array, Samples

R = TypeVar("R")
S = TypeVar("S", Sample, LabelledSample)

OnError: TypeAlias = Literal["skip", "raise"]
"""What becomes of a sample that cannot be used."""

MAX_ERRORS: Final = 0.05
"""The fraction that may be left out, where nothing else is said."""

_NOT_OF_A_SAMPLE: Final = (
    DeviceError,
    DiskFullError,
    LabelledTargetError,
    MemoryError,
    MissingDependencyError,
    OutputError,
    RunChangedError,
)
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many samples or files may be left out because they cannot be used.

    Args:
        on_error: ``skip``: leave it out, and list it with the reason; ``raise``: end the work.
        max_errors: How many may be left out: a number from 0 as an integer, or a fraction in
            [0, 1] as a float, of which any but 0 allows at least one. More of them end the work.
        seconds: How long a batch may take to be predicted and scored; one that takes longer is
            tried sample by sample, and what takes longer then is left out. None: as long as it
            likes. It is limited in the main thread, between two steps of Python.

    Raises:
        InputError: One of them is something else.
    """

    on_error: OnError = "skip"
    max_errors: float = MAX_ERRORS
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.on_error not in get_args(OnError):
            raise InputError(f"on_error is {self.on_error!r}; give one of {get_args(OnError)}.")
        allowed = plain(self.max_errors)
        object.__setattr__(self, "max_errors", allowed)
        if not isinstance(allowed, int | float) or not (
            allowed >= 0 if isinstance(allowed, int) else 0 <= allowed <= 1
        ):
            raise InputError(
                f"max_errors is {self.max_errors!r}; give a number from 0 as an integer, or a "
                "fraction in [0, 1] as a float."
            )
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise InputError(
                f"The time limit is {self.seconds!r}; give a number of seconds above 0, or None."
            )

    def skips(self, error: BaseException) -> bool:
        """Return whether an error may be that of one sample, which is then left out.

        What is wrong whatever the sample ends the work: a mask in the target, a full disk, a
        network whose output is not what it is taken for, and all that is no `Exception`.
        """
        of_a_sample = isinstance(error, Exception) and not isinstance(error, _NOT_OF_A_SAMPLE)
        return self.on_error == "skip" and of_a_sample

    def allowed(self, total: int) -> int:
        """Return how many of ``total`` may be left out."""
        if isinstance(self.max_errors, int):
            return self.max_errors
        return max(1, round(self.max_errors * total)) if self.max_errors else 0


class LeftOut(NamedTuple):
    """A sample or file that is left out.

    Args:
        position: Where it stands, from 0.
        id: Its name; its position in brackets where it could not be read.
        reason: Why.
    """

    position: int
    id: str
    reason: str


class LeavingOut:
    """Leaves out what cannot be used, as far as that is tolerated.

    Args:
        tolerance: How many may be left out.
        total: Of how many. One sample at least must be left.
        found: What is left out already.
        what: What they are. Of a file one sample or several may be left out, which counts once.
    """

    def __init__(
        self,
        tolerance: Tolerance,
        total: int,
        found: Sequence[LeftOut] = (),
        what: Literal["samples", "files"] = "samples",
    ) -> None:
        self.tolerance, self.found = tolerance, [*found]
        self._total, self._what = total, what
        self._places = {each.position for each in found}
        self._allowed = tolerance.allowed(total)
        if what == "samples":  # of a file, only some samples may be left out
            self._allowed = min(self._allowed, total - 1)

    def leave_out(self, position: int, id_: str, error: Exception) -> None:
        """Leave out a sample that cannot be used.

        Raises:
            Exception: The error, where it is not one that may be skipped.
            DataError: More are left out than may be.
        """
        if not self.tolerance.skips(error):
            raise error
        try:
            self.take([LeftOut(position, id_, reason_of(error))])
        except DataError as too_many:
            raise too_many from error

    def take(self, found: Iterable[LeftOut]) -> None:
        """Take in what somebody else has left out.

        Raises:
            DataError: More are left out than may be.
        """
        for each in found:
            self.found.append(each)
            self._places.add(each.position)
            self.check()

    def check(self) -> None:
        """Make sure that no more are left out than may be.

        Raises:
            DataError: More are.
        """
        if len(self._places) > self._allowed:
            raise self._too_many()

    def _too_many(self) -> DataError:
        lines = [f"  {each.id}: {each.reason}" for each in self.found[:_SHOWN]]
        if len(self.found) > _SHOWN:
            lines.append(f"  and {len(self.found) - _SHOWN} more")
        return DataError(
            f"{len(self._places):,} of {self._total:,} {self._what} cannot be used, and max_errors "
            f"allows {self._allowed:,}. What is finished is kept: give a higher max_errors "
            "(--max-errors) to go on with the others, or mend these and start anew.\n"
            + "\n".join(lines)
        )


def map_batches(
    function: Callable[[Sequence[S], Array], R],
    samples: Samples[S],
    *,
    batch_size: int,
    leaving_out: LeavingOut,
    start: int = 0,
    stop: int | None = None,
) -> Generator[tuple[Sequence[int], R]]:
    """Yield what a function makes of each batch, with the places of the batch's samples.

    A sample that cannot be read is left out. A batch on which the function fails is tried sample
    by sample, and those on which it fails again are left out.

    Args:
        function: Called with a batch and its stacked images ``(B, C, *S)``.
        samples: What is read.
        batch_size: How many samples are in a batch.
        leaving_out: Takes what cannot be used.
        start: The first sample's place.
        stop: The place behind the last sample; by default that of the last one there is.

    Raises:
        DataError: Too many samples cannot be used.
        Exception: What may not be left out; and what the function raised first where it has not
            succeeded once before too many were left out, since then it is not the samples' fault.
    """
    places = range(start, len(samples) if stop is None else stop)
    reader, work = _Reader(samples, places, leaving_out), _Work(function, leaving_out)
    with closing(batches(reader.samples(), batch_size=batch_size)) as stream:
        for batch, images in stream:
            yield from work.each(batch, images, reader.take(len(batch)))


class _Work(Generic[S, R]):
    """Calls a function with batches, and sample by sample where it fails."""

    def __init__(
        self, function: Callable[[Sequence[S], Array], R], leaving_out: LeavingOut
    ) -> None:
        self._function: Callable[[Sequence[S], Array], R] = function
        self._leaving_out = leaving_out
        self._worked = False
        self._first: Exception | None = None

    def each(
        self, batch: Sequence[S], images: Array, places: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], R]]:
        """Yield what the function makes of the batch, or of its samples one by one."""
        try:
            with guarded(self._leaving_out.tolerance.seconds):
                made = self._function(batch, images)
        except Exception as error:
            if not self._leaving_out.tolerance.skips(error):
                raise
            self._first = self._first or error
            if len(batch) == 1:
                self._leave_out(places[0], batch[0].id, error)
                return
            for at in range(len(batch)):
                yield from self.each(batch[at : at + 1], images[at : at + 1], places[at : at + 1])
        else:
            self._worked = True
            yield places, made

    def _leave_out(self, place: int, id_: str, error: Exception) -> None:
        try:
            self._leaving_out.leave_out(place, id_, error)
        except DataError:
            if self._first is not None and not self._worked:
                raise self._first from None
            raise


class _Reader(Generic[S]):
    """Reads samples, in a thread ahead of where they are used, and knows where they stand."""

    def __init__(self, samples: Samples[S], wanted: range, leaving_out: LeavingOut) -> None:
        self._samples: Samples[S] = samples
        self._wanted, self._leaving_out = wanted, leaving_out
        self._places: deque[int] = deque()  # of the samples that wait to be used

    def samples(self) -> Iterator[S]:
        """Yield the samples that can be read."""
        for place in self._wanted:
            try:
                sample = self._samples[place]
                check_rank(sample)
            except Exception as error:  # noqa: BLE001 - of any kind
                self._leaving_out.leave_out(place, f"[{place}]", error)
            else:
                self._places.append(place)
                yield sample

    def take(self, count: int) -> list[int]:
        """Return the places of the next samples."""
        return [self._places.popleft() for _ in range(count)]


def reason_of(error: BaseException) -> str:
    """Return what is said of an error: its message, after its type where that is not our own."""
    own = type(error).__module__.startswith("pladapt.")
    return str(error) if own and str(error) else f"{type(error).__name__}: {error}"
