"""A small Hub on loopback, for tests."""

# HUB engineer is writing this now (09:27): please leave it
