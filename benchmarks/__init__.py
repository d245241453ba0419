"""How fast tapsdk is beside its peers, on this machine: `python -m benchmarks`. Nothing of it is in the wheel.

A *workload* says what is to be done, a *runner* does it: ours, or a *peer*. Every runner works in a process of its own,
with its threads fixed, and takes *turns* with ours, so that what else the machine does meets both; what counts is the
*ratio* of two neighbouring turns. *Parts* of a *run* can be made one by one; a *row* is one runner on one workload.

`tapsdk benchmark` is something else, and the users': which of the engines at hand runs a model fastest, and rightly.
"""
