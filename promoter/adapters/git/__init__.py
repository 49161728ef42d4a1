"""The git room: one branch of one remote (`repository.GitRepository`), and the folder on disk (`worktree.WorkTree`).

The only room that knows GitPython, and of GitPython only the command wrapper, imported when a command is first needed.
"""
