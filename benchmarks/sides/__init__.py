"""Who takes part: each module makes the configurations of one library, and runs in a process of its own."""
