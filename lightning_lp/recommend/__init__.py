"""From a checkpoint to lists: the recommender, its tables and its export."""

from lightning_lp.recommend.recommender import Recommender as Recommender
