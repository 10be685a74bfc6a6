"""Where a service reads its model, again and again, and where it keeps the ratings that come in."""

from pathlib import Path

from lightning_lp.checkpointing.finding import find_checkpoint, newest_run, run_folder_of
from lightning_lp.errors import UserError
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.serve.service import Service
from lightning_lp.serve.store import RatingStore


class RunPlace:
    """A run folder or a checkpoint, or a link to one, and the log of ratings that lasts.

    Args:
        run: None: the newest run, whichever that is then.
        ratings: the log. None: ``ratings.sqlite`` in the run folder.
    """

    def __init__(self, run: Path | None, ratings: Path | None) -> None:
        self._run, self._ratings = run, ratings
        self._store: RatingStore | None = None

    def load(self) -> Service:
        """What is there now, a link followed, as a service with the one log.

        Raises:
            UserError: there is no run, it is damaged, the log cannot be used, or it lies in the folder of another run.
        """
        place = (self._run or newest_run()).resolve()
        file, folder = find_checkpoint(place), run_folder_of(place)
        recommender, log = Recommender.load(file), self._ratings or folder / "ratings.sqlite"
        if self._store is None:
            self._store = RatingStore(log)
        elif self._store.path != log:  # it would be looked for there at the next start
            raise UserError(
                f"{folder} is another run, and the ratings lie in the folder of the first: start with --ratings FILE"
            )
        return Service(recommender, self._store, f"{folder.name}/{file.name}")

    def close(self) -> None:
        """Lets others have the log."""
        if self._store is not None:
            self._store.close()
