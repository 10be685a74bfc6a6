"""From a batch of the graph to vectors of its nodes: one file for each encoder."""
