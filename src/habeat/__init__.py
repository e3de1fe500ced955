"""habeat: automatic failover for Carbonio that never acts on ignorance."""

__version__ = "1.0.0"
