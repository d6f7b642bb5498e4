"""Running a study: executors, scheduler, tasks, journal."""
