"""Code that the producer, the fetcher and the sink share. It imports none of them."""
