"""What `headrace doctor` looks at; each module has checks of one kind."""
