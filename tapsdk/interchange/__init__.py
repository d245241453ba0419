"""Tracks in the formats of other programs: written, never read."""
