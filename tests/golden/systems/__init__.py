"""Whole systems as transformers has them: one file a family, each with its CASES; `case.py` writes a case."""

import importlib
import pkgutil

CASES = []
for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    CASES += getattr(importlib.import_module(f"{__name__}.{_module}"), "CASES", [])
