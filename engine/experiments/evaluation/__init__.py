"""How a model does before and after attacks: scores, matrices, what they hide, as words, tables and figures."""
