"""The shapes of shapes10 in pictures of 32 x 32 pixels: which pixels, and which box?"""

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from qreg.data.shape_masks import SHAPES

SIDE, SUB = 32, 16  # pixels, and sub-pixel units of a pixel
ROUND = (0, 1, 9)  # disk, ring and crescent


def mask_of(rng, kind):
    """A shape's pixels, bool (32, 32)."""
    x, y = rng.integers(11 * SUB, 21 * SUB, 2)
    radius = np.array(rng.integers(6 * SUB, 11 * SUB)).reshape(1, 1, 1)
    at = np.arange(SIDE) * SUB + SUB // 2
    u, v = np.broadcast_arrays((at - x)[None, None, :], (at - y)[None, :, None])
    return SHAPES[kind](u, v, radius)[0]


class Shapes(Dataset):
    """Items (picture (1, 32, 32), target), each made from its index."""

    def __init__(self, count, seed, target):
        self.count, self.seed, self.target = count, seed, target

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        mask = mask_of(rng, index % len(SHAPES))
        noise = rng.normal(0, 0.3, (SIDE, SIDE))
        picture = torch.tensor((mask + noise)[None], dtype=torch.float32)
        return picture, self.target(torch.tensor(mask), index % len(SHAPES))


def pixels(mask, kind):
    return mask.long()


def box(mask, kind):
    """x1 y1 x2 y2 as shares of the picture."""
    (rows,), (columns,) = (torch.where(mask.any(dim)) for dim in (1, 0))
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return torch.tensor([int(edge) for edge in found]) / SIDE


def objects(mask, kind):
    """One object: its box, and whether it is round."""
    return {"boxes": box(mask, kind)[None], "labels": torch.tensor([int(kind in ROUND)])}


def splits(target):
    return {"train": Shapes(2000, 0, target), "test": Shapes(500, 1, target)}


def masks():
    return splits(pixels)


def boxes():
    return splits(box)


def detections():
    return splits(objects)


def conv(given, made, stride=1):
    return nn.Sequential(nn.Conv2d(given, made, 3, stride, 1), nn.BatchNorm2d(made), nn.ReLU())


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = conv(1, 8), conv(8, 16, stride=2)
        self.deep = conv(16, 32, stride=2)
        self.up = nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1)
        self.middle = conv(32, 16)
        self.up_again = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.last = nn.Sequential(conv(16, 8), nn.Conv2d(8, 2, 1))

    def forward(self, picture):
        wide = self.first(picture)
        half = self.second(wide)
        x = self.middle(torch.cat([half, self.up(self.deep(half))], 1))
        return self.last(torch.cat([wide, self.up_again(x)], 1))


class Boxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(1, 8, 2), conv(8, 16, 2), conv(16, 16, 2), nn.Flatten())
        self.box = nn.Linear(256, 4)

    def forward(self, picture):
        return self.box(self.body(picture))


class Detector(Boxes):
    """One object a picture: a dict, as torchvision's detectors name it, with the logits."""

    def __init__(self):
        super().__init__()
        self.kind = nn.Linear(256, 2)

    def forward(self, picture):
        x = self.body(picture)
        logits = self.kind(x)
        scores, labels = logits.softmax(1).max(1, keepdim=True)
        boxes = self.box(x)[:, None]
        return {"boxes": boxes, "scores": scores, "labels": labels, "logits": logits}


def loss(outputs, targets):
    """Of the detector, for `qreg train --loss outlines:loss`."""
    boxes = nn.functional.l1_loss(outputs["boxes"], targets["boxes"])
    kinds = nn.functional.cross_entropy(outputs["logits"], targets["labels"][:, 0])
    return 5 * boxes + 0.2 * kinds


def unet():
    return UNet()


def box_net():
    return Boxes()


def detector():
    return Detector()
