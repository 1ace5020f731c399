"""Which offsets may be committed while many records of a partition are in flight. Pure.

Only what is contiguous and done is committed; what is done beyond it travels in the commit's metadata as a bitmap, so
that a new owner does not repeat it. (The way of Confluent's parallel-consumer.)
"""
