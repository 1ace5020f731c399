"""The contracts between processes: messages, topics, identifiers and commit metadata. Pure data, without I/O."""
