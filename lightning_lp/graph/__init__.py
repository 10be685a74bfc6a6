"""Links of a graph in mini-batches: split, order, neighbour sampler, loader and sparse messages."""
