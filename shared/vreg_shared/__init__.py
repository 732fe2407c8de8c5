"""What all services mean by the same word; imports no service."""
