"""Many videos in one call: on all cores of this machine, or on all machines of a Ray cluster.

>>> table = tapsdk.batch.run("videos", grid=10, output="tracks")
>>> table.to_dataframe()                                        # a row a video
>>> tapsdk.batch.run("gs://bucket/jobs.csv", output="gs://bucket/tracks", on="ray://head:10001")

What is done already is kept, so a batch that was stopped goes on when it is run again.
"""

from tapsdk.batch.jobs import Job
from tapsdk.batch.running import run
from tapsdk.batch.table import Row, Table

__all__ = ["Job", "Row", "Table", "run"]
