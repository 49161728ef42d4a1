"""Git: one branch of one remote (`repository.GitRepository`), and the clone on disk (`checkout`).

Only here is GitPython used, and of GitPython only the command wrapper, imported when a command is first needed.
"""
