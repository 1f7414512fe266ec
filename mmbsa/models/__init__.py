"""Models: importing this package registers every class of ours."""
