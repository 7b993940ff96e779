"""A model's files from the Hub, into its cache."""

# HUB engineer is writing this now (09:27): please leave it
