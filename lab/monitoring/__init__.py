"""What is looked at: dashboards, made from a list of panels."""
