"""Exports what a model makes of a history as ONNX: lists for any user, without torch and without this package."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_lp.errors import UserError
from lightning_lp.model.encoders.readers import Reader
from lightning_lp.recommend.export import new_folder
from lightning_lp.recommend.recommender import Recommender

INPUTS = "movie", "rating", "time"
_README = """\
# Lists for any user, from what it has rated

`model.onnx` takes the history of one user, and gives the movies that it would rate next, best first, without those of
the history. It needs `numpy` and `onnxruntime`:

```python
import json

import numpy as np
import onnxruntime

with open("movies.json", encoding="utf-8") as file:
    movies = json.load(file)
index = {{str(movie): i for i, movie in enumerate(movies["ids"])}}
session = onnxruntime.InferenceSession("model.onnx")

rated = {example!r}  # ids of movies, each once, the latest last
history = {{"movie": np.array([index[str(movie)] for movie in rated])}}{more}
best, score = session.run(["best", "score"], history)
for i, probability in zip(best[best >= 0], score):
    print(movies["ids"][i], movies["titles"][i], movies["genres"][i], probability)
```

| input | content |
| --- | --- |
{inputs}

| output | content |
| --- | --- |
| `best` | [{k}] int64 indices, best first; -1 where no movie is left |
| `score` | [{k}] float32 probability of a rating of each |

`movies.json` says what an index stands for: `ids`, `titles` and `genres` of the {num_movies:,} movies, in one order.
"""
_MEANING = {
    "movie": "[n] int64 indices of the movies that the user has rated, each once, the latest last; at least one",
    "rating": "[n] float32 rating of each; NaN: unknown",
    "time": "[n] int64 time of each in seconds, ascending; where times are unknown 0, 1, 2, ...",
}
_MORE = {
    "rating": 'history["rating"] = np.full(len(rated), np.nan, np.float32)  # or the rating of each',
    "time": 'history["time"] = np.arange(len(rated))  # or the time of each in seconds',
}


class Lists(nn.Module):
    """From one history to a list.

    Args:
        reader: makes the user's vector.
        k: length of the list.
    """

    def __init__(self, reader: Reader, k: int) -> None:
        super().__init__()
        self.reader, self.k = reader, k

    def forward(self, movie: Tensor, rating: Tensor | None = None, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The arguments are those of :meth:`Reader.forward`.

        Returns:
            [k] int64 movies, best first, equal ones by index, -1 where none is left; and [k] float32 the probability
            of each. Scores are summed as in :func:`~lightning_lp.recommend.topk.dot_products`.
        """
        z_user, z_movie = self.reader(movie, rating, time).double()[None], self.reader.z_movie.double()
        # With a bias it becomes one operation, which is four times as fast as a product of matrices.
        (scores,) = F.linear(z_user, z_movie, z_movie.new_zeros(len(z_movie))).float()
        score, best = scores.index_fill(0, movie, -torch.inf).topk(self.k)
        return torch.where(score.isinf(), -1, best), score.sigmoid()


def write_onnx(recommender: Recommender, out: Path, k: int = 100) -> None:
    """Writes ``model.onnx``, ``movies.json`` and a ``README.md`` into a new folder, whole or not at all.

    Args:
        recommender: the model.
        out: the folder to make; it may exist only if it is empty.
        k: length of the lists; of fewer movies all.

    Raises:
        UserError: the model's encoder has no :meth:`Encoder.reader`, the folder is not empty, or cannot be written.
        ImportError: a package of the extra ``onnx`` is missing.
    """
    reader = recommender.reader()
    if reader is None:
        raise UserError(
            f"the encoder {recommender.encoder_name} embeds a user through the whole graph, which ONNX does not hold: "
            "export without --format onnx, which writes the vectors of the known users"
        )
    for package in ("onnx", "onnxscript"):
        import_module(package)  # in a sentence of its own, where it is missing
    names = [name for name in INPUTS if name in ("movie", *recommender.edge_attrs)]
    num_movies = len(recommender.movies)
    lists = Lists(reader, min(k, num_movies)).eval()
    example = recommender.movies.ids[:3].tolist()
    with new_folder(out) as folder:
        with _quietly():
            _exported(lists, names, num_movies).save(folder / "model.onnx")
        movies = {"ids": recommender.movies.ids.tolist(), "titles": recommender.titles, "genres": recommender.genres}
        (folder / "movies.json").write_text(json.dumps(movies), encoding="utf-8")
        text = _README.format(
            example=example,
            more="".join(f"\n{_MORE[name]}" for name in names[1:]),
            inputs="\n".join(f"| `{name}` | {_MEANING[name]} |" for name in names) + _of_min_rating(recommender),
            k=lists.k,
            num_movies=num_movies,
        )
        (folder / "README.md").write_text(text, encoding="utf-8")


def _of_min_rating(recommender: Recommender) -> str:
    """What a history is of a model to which low ratings are no links."""
    if recommender.min_rating is None:
        return ""
    return (
        f"\n\nIt was trained on ratings of {recommender.min_rating:g} and more: `movie` has those alone. What was "
        "rated lower is known, too: leave it out of the list."
    )


def _exported(lists: Lists, names: list[str], num_movies: int) -> torch.onnx.ONNXProgram:
    of_names = {
        "movie": torch.arange(2).remainder(num_movies),
        "rating": torch.full((2,), torch.nan),
        "time": torch.arange(2),
    }
    size = torch.export.Dim("n", min=1, max=2**31 - 1)
    with sdpa_kernel(SDPBackend.MATH):  # others leave layouts behind that cannot be written down
        program = torch.onnx.export(
            lists,
            kwargs={name: of_names[name] for name in names},
            dynamic_shapes={name: {0: size} for name in INPUTS if name in names},
            input_names=names,
            output_names=["best", "score"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _quietly() -> Iterator[None]:
    """Leaves out what the exporter says of packages that it would know, too, and of itself."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
