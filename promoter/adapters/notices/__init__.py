"""The notices' room: channels that are told of events. CloudEvents' and Apprise's libraries are used here and nowhere else."""
