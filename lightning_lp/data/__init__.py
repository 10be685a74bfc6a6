"""From CSV files to mini-batches: tables, ids, graph, split, sampler and data module."""
