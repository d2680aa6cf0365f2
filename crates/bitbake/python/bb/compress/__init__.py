"""Compressed files through the host's programs."""
