"""What the operating system has for us: files that appear whole, the cache folder, the machine, progress bars."""
