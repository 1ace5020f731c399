"""What lies between the services, and knows none of them."""
