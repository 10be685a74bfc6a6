"""Exports a trained model as plain files, with a recommender that needs NumPy alone."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lightning_lp.atomic import install
from lightning_lp.errors import UserError
from lightning_lp.recommend import topk
from lightning_lp.recommend.recommender import Recommender

_README = """\
# {users:,} users and {movies:,} movies as vectors

Recommend with NumPy alone; the movies are those of the model, in its order:

```python
from topk import TopK

for movie in TopK().recommend({example!r}, k=10):
    print(movie.rank, movie.movie_id, movie.title, movie.genres, movie.score)
```

`score` is the probability of a rating: the sigmoid of the dot product of the two vectors. Movies that the user has
rated are left out.

| file | content |
| --- | --- |
| `topk.py` | the recommender; reads the `.npy` files and `movies.json` |
| `user_ids.npy`, `user_embeddings.npy` | id and vector (float32) of each user, in one order |
| `movie_ids.npy`, `movie_embeddings.npy` | the same for movies |
| `movies.json` | `titles` and `genres` of the movies, in that order |
| `seen_offsets.npy`, `seen_movies.npy` | user row `u` has rated `seen_movies[seen_offsets[u]:seen_offsets[u + 1]]` |
| `users.parquet`, `movies.parquet`, `seen.parquet` | the same as tables with ids, for other programs |
"""


def write_export(recommender: Recommender, out: Path) -> None:
    """Writes embeddings, ids, titles, genres, seen pairs, ``topk.py`` and a ``README.md`` into a new folder.

    The folder appears by one rename when it is complete.

    Args:
        recommender: the model.
        out: the folder to make; it may exist only if it is empty.

    Raises:
        UserError: the folder is not empty, or cannot be written.
    """
    with new_folder(out) as folder:
        _write_arrays(recommender, folder)
        _write_tables(recommender, folder)
        shutil.copyfile(topk.__file__, folder / "topk.py")
        sizes = {"users": len(recommender.users), "movies": len(recommender.movies)}
        least_seen = int(np.diff(recommender.seen_indptr).argmin())  # so that the example has an answer
        text = _README.format(**sizes, example=recommender.users.ids.tolist()[least_seen])
        (folder / "README.md").write_text(text, encoding="utf-8")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` when it is complete.

    Args:
        out: the folder to make; it may exist only if it is empty.

    Raises:
        UserError: the folder is not empty, or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out} exists and is not an empty folder: remove it, or name another")
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
            folder = Path(temporary) / "export"  # an inner folder, for only that has the usual permissions
            folder.mkdir()
            yield folder
            install(folder, out)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error}") from error


def _write_arrays(recommender: Recommender, folder: Path) -> None:
    """What ``topk.py`` reads."""
    arrays = {
        "user_ids": _plain(recommender.users.ids),
        "user_embeddings": recommender.user_embeddings,
        "movie_ids": _plain(recommender.movies.ids),
        "movie_embeddings": recommender.movie_embeddings,
        "seen_offsets": recommender.seen_indptr,
        "seen_movies": recommender.seen_movies,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    movies = {"titles": recommender.titles, "genres": recommender.genres}
    (folder / "movies.json").write_text(json.dumps(movies), encoding="utf-8")


def _write_tables(recommender: Recommender, folder: Path) -> None:
    """The same for programs that read Parquet."""
    users, movies = _plain(recommender.users.ids), _plain(recommender.movies.ids)
    user = np.repeat(np.arange(len(users)), np.diff(recommender.seen_indptr))
    tables = {
        "users": {"userId": users, "embedding": _vectors(recommender.user_embeddings)},
        "movies": {
            "movieId": movies,
            "title": recommender.titles,
            "genres": [list(names) for names in recommender.genres],
            "embedding": _vectors(recommender.movie_embeddings),
        },
        "seen": {"userId": users[user], "movieId": movies[recommender.seen_movies]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def _vectors(embeddings: NDArray[np.float32]) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])


def _plain(ids: NDArray[Any]) -> NDArray[Any]:
    """Ids of a type that ``numpy.load`` reads without pickle: int64, or text of fixed width."""
    return ids.astype(str) if ids.dtype == object else ids
