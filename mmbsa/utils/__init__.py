"""Small helpers without a floor of their own."""
