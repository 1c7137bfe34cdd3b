"""Recurrent cells on the CPU: input projections over all steps at once, then a time loop inside one kernel."""
