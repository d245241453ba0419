"""python -m training annotate: TAPVid-3D's files fetched, and the pictures put in that may not be handed on."""
