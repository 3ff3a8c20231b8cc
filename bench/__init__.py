"""Benchmarks: every figure that the project promises, side by side with what a user would pick instead.

`make bench` runs them all; `python -m bench --help` tells how to run one.
"""
