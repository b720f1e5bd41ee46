"""Where the work on many images is done: in this process, or by workers elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pladapt.runs.manifest import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from pladapt.typing import Predictor

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Has work done on items, wherever that is, and gives back what was made in their order.

    What is finished is stored by who calls, so that an engine keeps nothing.
    """

    def describe(self, predictor: Predictor) -> Any:
        """Return what a run's manifest says of the predictor, where it predicts."""
        ...

    def map(
        self,
        make: Callable[[Predictor], Callable[[Sequence[T]], Generator[R]]],
        predictor: Predictor,
        items: Sequence[T],
        *,
        multiple_of: int = 1,
    ) -> Generator[R]:
        """Yield what the work makes of the items, in their order; to be closed by its user.

        Args:
            make: Returns the work, once for each worker. The work takes consecutive items, and
                yields what it makes of them.
            predictor: What ``make`` is called with.
            items: What the work is done on.
            multiple_of: Work that is done piece by piece has a multiple of so many items in a
                piece, but for the last.

        Raises:
            Exception: What the work raised.
        """
        ...


class LocalEngine:
    """Does all work in this process, in one piece."""

    def describe(self, predictor: Predictor) -> Any:
        """Return what a run's manifest says of the predictor."""
        return describe(predictor)

    def map(
        self,
        make: Callable[[Predictor], Callable[[Sequence[T]], Generator[R]]],
        predictor: Predictor,
        items: Sequence[T],
        *,
        multiple_of: int = 1,  # noqa: ARG002 - there is one piece
    ) -> Generator[R]:
        """Return what the work makes of all items, as it comes."""
        return make(predictor)(items)
