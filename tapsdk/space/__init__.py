"""Tracks in three dimensions: points of a video in metres, from their tracks and depth maps."""
