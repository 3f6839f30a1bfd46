"""jason logs in through the page, everybody else does not."""

from loadtests.entries.question import Split
from loadtests.samples.bookinfo import REVIEWS_CLASSES, ReadReviews, reviewed

QUESTION = Split(
    app="reviews",
    classes=REVIEWS_CLASSES | {"jason": reviewed("jason")},
    callers="productpage",
)
TRAFFIC = {"anonymous": ReadReviews(), "jason": ReadReviews(user="jason")}
