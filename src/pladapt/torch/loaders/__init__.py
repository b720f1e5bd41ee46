"""What reads the networks that other libraries save, each with the library's own code."""
