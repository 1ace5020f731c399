"""The command `gsc-stream`."""
