"""A few minutes of a person, where they help most: the queue, the answers, and the page.

The page comes with the extra ``review``; the rest needs nothing more than a run does.
"""

from pladapt.review.journal import Stroke
from pladapt.review.reviewing import Review, queue

__all__ = ["Review", "Stroke", "queue"]
