"""What a run reports: data and split, throughput, curves, results and predictions."""
