"""Rows of a Hub data set."""

# HUB engineer is writing this now (09:27): please leave it
