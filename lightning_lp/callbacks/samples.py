"""Shows in TensorBoard what the model would recommend, and how it arranges the movies."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from lightning_lp.data.datamodule import MovieLensDataModule, data_of
from lightning_lp.data.rating_graph import RatingGraph, genre_names
from lightning_lp.data.schema import NO_GENRES, RATES
from lightning_lp.escape import markdown, visible
from lightning_lp.evaluation.ranking import ScoreQueries, top_k
from lightning_lp.evaluation.ranking_task import RankingTask, kept_task
from lightning_lp.evaluation.scoring import EmbedsAll, scorer_of

_PROJECTED_CHANNELS = 64
"""Of the projector, which writes each number as text: the main directions say how movies lie."""
_MAX_PROJECTED = 10_000


class Samples(Callback):
    """Recommendations for three users after each validation, and after a fit the best checkpoint's movies.

    The users are the least active, the median and the most active of those with held-out movies; where history is
    rolling, each as of one time. The movies' vectors go to the projector, with title and main genre; of large
    catalogues the 10,000 most rated.

    Args:
        k: length of the lists.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the panel; in the validation that follows a fit, the projector."""
        data = data_of(trainer)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if trainer.sanity_checking or data is None or not loggers or not trainer.is_global_zero:
            return
        graph = data.split.part("val")
        rating = data.graph.data[RATES].get("rating")
        score_queries = scorer_of(pl_module, graph, data.split_settings.history, rating)
        if score_queries is None:
            return
        for logger in loggers:
            if trainer.state.fn == TrainerFn.FITTING:
                text = sample_text(data, score_queries, self.k)
                logger.experiment.add_text("val/recommendations", text, trainer.global_step)
            elif trainer.global_step > 0 and isinstance(pl_module, EmbedsAll):
                z_movie = pl_module.embed_all(graph)[1].cpu()
                chosen, labels = projected_movies(data.graph)
                z_projected = main_directions(z_movie[chosen], _PROJECTED_CHANNELS)
                header = ["title", "main genre"]
                logger.experiment.add_embedding(z_projected, labels, tag="movies", metadata_header=header)


def sample_text(data: MovieLensDataModule, score_queries: ScoreQueries, k: int = 5) -> str:
    """Histories and recommendations of three users as Markdown; held-out movies that were found are bold."""
    graph = data.graph
    task = kept_task(data.split.val, graph.below_min_rating, history=data.split_settings.history)
    parts = []
    for position in sample_positions(task):
        user, time = int(task.users[position]), None if task.time is None else task.time[position, None]
        scores = score_queries(torch.tensor([user]), time).cpu()
        seen, held_out = (pairs[1, pairs[0] == position] for pairs in (task.seen, task.held_out))
        listed = top_k(scores, torch.stack([torch.zeros_like(seen), seen]), k)[0]
        rows = [
            f"| {rank} | {_bold(markdown(graph.titles[movie]), movie in held_out)} | "
            f"{markdown(genres_text(graph.genres[movie]))} |"
            for rank, movie in enumerate(listed[listed < task.num_movies].tolist(), start=1)
        ]
        shown_id = markdown(str(graph.users.ids[user]))
        rated = ", ".join(markdown(graph.titles[movie]) for movie in seen[:k].tolist())
        parts.append(
            f"**user {shown_id}** ({seen.numel():,} movies rated, {held_out.numel()} held out; "
            f"rated {rated}, ...)\n\n| | recommended | genres |\n| --- | --- | --- |\n" + "\n".join(rows)
        )
    return "\n\n".join(parts)


def sample_positions(task: RankingTask) -> list[int]:
    """Positions in ``task.users`` of the least active, the median and the most active user."""
    activity = torch.bincount(task.seen[0], minlength=task.users.numel())
    order = activity.argsort(stable=True)
    return sorted({int(order[i]) for i in (0, len(order) // 2, -1)}, key=lambda position: int(activity[position]))


def projected_movies(graph: RatingGraph) -> tuple[Tensor, list[list[str]]]:
    """Indices of the most rated movies, and the title and main genre of each."""
    num_raters = torch.bincount(graph.data[RATES].edge_index[1], minlength=len(graph.movies))
    chosen = num_raters.argsort(descending=True, stable=True)[:_MAX_PROJECTED]
    labels = [[visible(graph.titles[movie]), visible(main_genre(graph.genres[movie]))] for movie in chosen.tolist()]
    return chosen, labels


def main_directions(z: Tensor, channels: int) -> Tensor:
    """[num, at most ``channels``] coordinates of vectors [num, d] along the principal components, the largest first."""
    centred = z.double() - z.double().mean(dim=0)
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :channels]
    projected: Tensor = (centred @ directions).to(z.dtype)
    return projected


def main_genre(genres: str) -> str:
    """The first genre, or a dash."""
    return next((name for name in genre_names(genres) if name != NO_GENRES), "-")


def genres_text(genres: str) -> str:
    """All genres for people to read."""
    return ", ".join(name for name in genre_names(genres) if name != NO_GENRES)


def _bold(text: str, is_found: bool) -> str:
    return f"**{text}**" if is_found else text
