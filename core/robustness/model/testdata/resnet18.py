"""A residual network of the size of ResNet-18, exported as a user would, for python_model_test.cc.

usage: resnet18.py DIRECTORY   writes model.pt, inputs.bin (4x3x32x32 float32) and logits.bin (4x10 float32)
"""
import sys

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def make():
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    width = 64
    for outputs, stride in [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]:
        layers.append(Block(width, outputs, stride))
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


torch.manual_seed(1)
torch.set_num_threads(1)
model = make()
for module in model.modules():  # statistics as training leaves them
    if isinstance(module, nn.BatchNorm2d):
        module.running_mean.uniform_(-0.1, 0.1)
        module.running_var.uniform_(0.5, 1.5)
model.eval()
inputs = torch.rand(4, 3, 32, 32)
with torch.no_grad():
    logits = model(inputs)
torch.jit.script(model).save(sys.argv[1] + "/model.pt")
inputs.numpy().tofile(sys.argv[1] + "/inputs.bin")
logits.numpy().tofile(sys.argv[1] + "/logits.bin")
