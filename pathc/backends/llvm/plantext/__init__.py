"""Plans as text: a printer, and the parser that reads them back for a graph."""

from __future__ import annotations

from pathc.backends.llvm.plantext.parser import PlanText, parse_plan, parse_plans
from pathc.backends.llvm.plantext.printer import print_plan, print_plans

__all__ = ["PlanText", "parse_plan", "parse_plans", "print_plan", "print_plans"]
