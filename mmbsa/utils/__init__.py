"""Helper functions that several packages use."""
