"""The configuration: its model, its loader, and what is generated from the model."""

from habeat.config.loader import load
from habeat.config.model import Config

__all__ = ["Config", "load"]
