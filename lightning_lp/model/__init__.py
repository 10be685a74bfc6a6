"""The model, as plain PyTorch modules, and the LightningModule that trains it."""
