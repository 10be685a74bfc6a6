"""From a checkpoint to lists: the recommender, its tables and its export."""
