"""What the operating system has for us: files that appear whole or come from anybody, cache, machine, progress bars."""
