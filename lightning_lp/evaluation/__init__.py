"""How good a model is: ranking metrics, the baselines to beat, and the comparison with them."""
