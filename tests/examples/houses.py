"""A table made by code: six numbers of a house, and its price."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def rows(count, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=rng)
    noise = torch.randn(count, generator=rng) * 0.1
    price = x[:, 0] * x[:, 1] + torch.relu(x[:, 2]) - 0.5 * x[:, 3].abs() + noise
    return TensorDataset(x, price[:, None])


def data():
    return {"train": rows(4000, seed=0), "test": rows(1000, seed=1)}


def mlp():
    return nn.Sequential(
        nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
