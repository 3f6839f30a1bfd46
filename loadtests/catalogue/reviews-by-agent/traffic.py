"""A phone and a desktop read the reviews; productpage forwards their User-Agent."""

from loadtests.entries.question import Split
from loadtests.samples.bookinfo import ReadReviews, reviewed

AGENTS = {"phone": "Lab/1.0 (Mobile)", "desk": "Lab/1.0"}
QUESTION = Split(
    app="reviews",
    classes={name: reviewed(headers={"user-agent": agent}) for name, agent in AGENTS.items()},
    callers="productpage",
)
TRAFFIC = {name: ReadReviews(headers={"User-Agent": agent}) for name, agent in AGENTS.items()}
