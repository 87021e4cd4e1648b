"""Neural networks as plain nn.Modules, and the LightningModule that trains any of them."""
