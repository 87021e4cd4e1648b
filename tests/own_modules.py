"""What users bring: LightningModules and LightningDataModules that know nothing of this project."""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.utils.data import DataLoader, TensorDataset


class PublicData(pl.LightningDataModule):
    """In the style of Lightning's examples: no attributes for shapes or classes, and data that exist after `setup`."""

    def __init__(self, batch_size: int = 16, size: int = 96) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(self.hparams.size, 6, generator=generator)
        self.all = TensorDataset(inputs, inputs[:, :3].argmax(1))

    def train_dataloader(self):
        return DataLoader(self.all, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.all, 96)


class PlainData(pl.LightningDataModule):
    """Inputs without targets, and no validation or test set."""

    def train_dataloader(self):
        return DataLoader(torch.randn(96, 4, generator=torch.Generator().manual_seed(0)), 16)


class Autoencoder(pl.LightningModule):
    """Takes the net of the config, its optimizer and its schedule, and logs metrics of its own."""

    def __init__(self, net, optimizer, schedule=None, *, noise: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net, self.optimizer, self.schedule, self.noise = net, optimizer, schedule, noise

    def training_step(self, batch, batch_idx):
        inputs = batch[0]
        loss = mse_loss(self.net(inputs + self.noise * torch.randn_like(inputs)), inputs[:, :3])
        self.log("denoising/train", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("denoising/val", mse_loss(self.net(batch[0]), batch[0][:, :3]))

    def configure_optimizers(self):
        optimizer = self.optimizer(self.net.parameters())
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "interval": "step"}}


class Gan(pl.LightningModule):
    """A GAN with nets of its own, two optimizers, and manual optimization."""

    automatic_optimization = False

    def __init__(self, *, latent: int = 3, lr: float = 1e-3) -> None:
        super().__init__()
        self.latent, self.lr = latent, lr
        self.generator = nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
        self.discriminator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    def training_step(self, batch, batch_idx):
        generating, discriminating = self.optimizers()
        real, noise = batch, torch.randn(len(batch), self.latent)
        judged = torch.cat([self.discriminator(real), self.discriminator(self.generator(noise).detach())])
        is_real = torch.cat([torch.ones(len(real), 1), torch.zeros(len(real), 1)])
        loss = binary_cross_entropy_with_logits(judged, is_real)
        discriminating.zero_grad()
        self.manual_backward(loss)
        discriminating.step()
        fooled = binary_cross_entropy_with_logits(self.discriminator(self.generator(noise)), torch.ones(len(real), 1))
        generating.zero_grad()
        self.manual_backward(fooled)
        generating.step()
        self.log_dict({"gan/generator": fooled, "gan/discriminator": loss}, on_step=False, on_epoch=True)

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), self.lr) for part in (self.generator, self.discriminator)]
