"""The margin softmax over any number of classes, dense or in tiles, on one or many processes."""

from frfw.classifier.classifier import Classifier
from frfw.classifier.create import create_classifier
from frfw.classifier.output import HeadOutput

__all__ = ["Classifier", "HeadOutput", "create_classifier"]
