"""Runs a story: `story.py <settings> <module> <function>`."""

import importlib
import sys

getattr(importlib.import_module(sys.argv[2]), sys.argv[3])()
