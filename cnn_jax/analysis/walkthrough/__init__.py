"""The lecture as a page."""
