"""What the Hub refuses, in a person's words."""

# HUB engineer is writing this now (09:27): please leave it
