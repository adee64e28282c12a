"""What an operator DOES: forward in torch, backward rule, window; one file per family of operators."""
