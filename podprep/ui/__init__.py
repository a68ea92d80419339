"""What people see, of both tools: console, progress, the command line, pictures and pages."""
