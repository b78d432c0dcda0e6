"""Which addresses may be called, and a client whose connections hold to it."""
