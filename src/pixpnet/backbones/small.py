"""A slim residual network for small images and CPUs."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock

__all__ = ["SmallResNet"]


class SmallResNet(nn.Module):
    """Residual blocks (He et al. 2016) of 32, 64 and 128 channels behind a 3×3 stem of stride 2."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        self.layer1 = _stage(32, 32, blocks=1, stride=2)
        self.layer2 = _stage(32, 64, blocks=2, stride=1)
        self.layer3 = _stage(64, 128, blocks=1, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(128, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images):
        features = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return self.fc(self.flatten(self.avgpool(features)))


def _stage(channels: int, out_channels: int, *, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride > 1 or channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    first = BasicBlock(channels, out_channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))
