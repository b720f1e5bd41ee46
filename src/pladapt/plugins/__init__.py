"""The plugin manager, the hooks, and the built-in parts' registrations."""
