"""The past: who held an alias when, and what Promoter cannot know of it."""
