"""Files that survive kills, full disks and damage: replaced whole, locked, named in errors, set aside."""
