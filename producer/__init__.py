"""The planner: decides what is owed, and asks for it."""
