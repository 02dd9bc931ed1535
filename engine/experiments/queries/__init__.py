"""Attackers who can only ask: how near they come with how many queries."""
