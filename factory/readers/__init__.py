"""Readers of file formats: a path to Markdown."""
