"""TAPIR and BootsTAPIR, offline and online, and the small model of ours."""
