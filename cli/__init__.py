"""The operator's one command, gsc-stream."""
