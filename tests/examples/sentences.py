"""Sentences made by code: is the opinion in them good? "not" turns the next word around."""

import torch
from torch import nn
from torch.utils.data import Dataset

WORDS, LENGTH, NOT = 60, 16, 1  # 2 to 21 are good words, 22 to 41 bad ones, the others neither


class Sentences(Dataset):
    """Items ({"ids": int64 (16,), "mask": bool (16,)}, label), each made from its index."""

    def __init__(self, count, seed):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = torch.Generator().manual_seed(self.seed * 1_000_000 + index)
        length = int(torch.randint(5, LENGTH + 1, (1,), generator=rng))
        ids = torch.randint(2, WORDS, (LENGTH,), generator=rng)
        ids[torch.rand(LENGTH, generator=rng) < 0.2] = NOT
        mask = torch.arange(LENGTH) < length
        opinion = ((ids >= 2) & (ids < 22)).int() - ((ids >= 22) & (ids < 42)).int()
        turned = torch.cat([torch.zeros(1, dtype=torch.bool), ids[:-1] == NOT])
        total = int((torch.where(turned, -opinion, opinion) * mask).sum())
        return {"ids": ids * mask, "mask": mask}, int(total > 0)


def data():
    return {"train": Sentences(2000, seed=0), "test": Sentences(1000, seed=1)}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, ids, mask):
        x, _ = self.lstm(self.embedding(ids))
        x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(x)


class Transformer(nn.Module):
    """A block of attention over words, each joined with the word before it."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32)
        self.join = nn.Linear(64, 32)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 2)

    def forward(self, ids, mask):
        x = self.embedding(ids)
        before = nn.functional.pad(x[:, :-1], (0, 0, 1, 0))
        x = torch.relu(self.join(torch.cat([x, before], 2)))
        weights = self.query(x) @ self.key(x).transpose(1, 2) / 32**0.5
        x = x + weights.masked_fill(~mask[:, None], -1e9).softmax(2) @ self.value(x)
        x = x + self.down(torch.relu(self.up(self.norm(x))))
        return self.head((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def recurrent():
    return Recurrent()


def transformer():
    return Transformer()


def quantize(model, context):
    """int8 weights of the LSTM and of the linear layer, activations at run time."""
    return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM, nn.Linear}, dtype=torch.qint8)
