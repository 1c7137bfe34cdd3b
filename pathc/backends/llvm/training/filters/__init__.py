"""Filters in training: channels as planes of rows, one row of samples for every position."""
