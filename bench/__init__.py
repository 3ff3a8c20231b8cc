"""Benchmarks: every figure that the project promises, next to what a user would choose instead.

`make bench` runs them all; `python -m bench --help` tells how to run one.
"""
