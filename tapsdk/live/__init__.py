"""Points on a camera's picture, now: a session that tracks, a page that shows it, and recordings of both."""
