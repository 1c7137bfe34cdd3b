"""Schedules: which path each of z lanes processes in each cycle, and whether its memory banks are free."""

from __future__ import annotations

from pathc.ir.schedule.banks import MAPS, Banks
from pathc.ir.schedule.blocks import BlockSchedule, End
from pathc.ir.schedule.build import KINDS, build, schedule_of, verdict_of
from pathc.ir.schedule.check import Verdict, check
from pathc.ir.schedule.files import load_schedule, save_schedule
from pathc.ir.schedule.report import schedule_json, schedule_report
from pathc.ir.schedule.table import IDLE, Schedule

__all__ = [
    "IDLE",
    "KINDS",
    "MAPS",
    "Banks",
    "BlockSchedule",
    "End",
    "Schedule",
    "Verdict",
    "build",
    "check",
    "load_schedule",
    "save_schedule",
    "schedule_json",
    "schedule_of",
    "schedule_report",
    "verdict_of",
]
