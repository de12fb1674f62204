"""A slim residual network for small images and CPUs."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock


class SmallResNet(nn.Module):
    """Two residual blocks (He et al. 2016) of 128 channels behind two convolutions and a pooling.

    Its stem halves the image twice, so that most of the work is done on small grids.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, 32, kernel_size=5, stride=2), nn.MaxPool2d(2))
        self.layer1 = nn.Sequential(*_convolution(32, 64, kernel_size=3, stride=1))
        shortcut = nn.Sequential(nn.Conv2d(64, 128, 1, stride=2, bias=False), nn.BatchNorm2d(128))
        self.layer2 = BasicBlock(64, 128, 2, shortcut)
        self.layer3 = BasicBlock(128, 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(128, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images):
        features = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return self.fc(self.flatten(self.avgpool(features)))


def _convolution(channels: int, out_channels: int, *, kernel_size: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
