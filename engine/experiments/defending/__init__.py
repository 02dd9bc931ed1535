"""What defenses are worth: against attackers who do not know of them and who do, and what they cost."""
