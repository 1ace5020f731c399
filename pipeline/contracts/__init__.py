"""What crosses a process: messages, topics and their codec. Pure data, no I/O."""
