"""Statistics over the runs of a sweep: functions that return numbers and tables, without drawing or formatting."""
