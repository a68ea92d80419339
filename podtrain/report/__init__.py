"""What people read: tables and the page of a run."""
