"""What tracks say of motion: how the camera moved, which points moved by themselves, and which of them together.

>>> motion = tapsdk.motion.camera_motion(tracks.xy, tracks.visible, (height, width))
>>> motion.foreground                  # [N] bool, points that do not move with the background
>>> motion.stabilised(tracks.xy)       # [N, T, 2], as if the camera had stood still
>>> tapsdk.motion.rigid_groups(tracks.xy, tracks.visible)      # [N] numbers of groups

All of it is geometry of tracks, in numpy; no pictures are looked at.
"""

from tapsdk.motion.camera import CameraMotion, camera_motion
from tapsdk.motion.groups import rigid_groups
from tapsdk.motion.homography import apply_homography, estimate_homography, ransac_homography

__all__ = [
    "CameraMotion",
    "apply_homography",
    "camera_motion",
    "estimate_homography",
    "ransac_homography",
    "rigid_groups",
]
