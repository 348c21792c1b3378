"""Sounds made by code: which of five tones is in the noise?"""

import torch
from torch import nn
from torch.utils.data import Dataset

LENGTH, TONES = 256, 5


class Tones(Dataset):
    """Items (wave (1, 256), label), each made from its index."""

    def __init__(self, count, seed):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = torch.Generator().manual_seed(self.seed * 1_000_000 + index)
        label, phase = index % TONES, torch.rand(1, generator=rng) * 2 * torch.pi
        wave = torch.sin(torch.arange(LENGTH) * (0.2 + 0.15 * label) + phase)
        return (wave + 2 * torch.randn(LENGTH, generator=rng))[None], label


def data():
    return {"train": Tones(2000, seed=0), "test": Tones(1000, seed=1)}


def net():
    return nn.Sequential(
        nn.Conv1d(1, 16, 33, stride=4),
        nn.ReLU(),
        nn.Conv1d(16, 16, 9, stride=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 12, TONES),
    )
