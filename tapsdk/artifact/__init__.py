"""The one thing that export and runtime share: a directory with a manifest, and where such directories come from."""

from tapsdk.artifact.artifact import BUNDLED, Artifact, bundled_models, got_folder, open_artifact

__all__ = ["BUNDLED", "Artifact", "bundled_models", "got_folder", "open_artifact"]
