"""A factory for small expert models: documents in, a measured specialist with a demo out."""

__version__ = "0.1.0"
