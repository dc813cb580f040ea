"""Studies in rounds: which trials come next follows from what has come of those before.

A search tries values, looks at validation, and tries more; then every row trains at its best value
and reads the test split; then seeds are added to rows that are undecided, or whose verdict halves
of their seeds do not share. Every round is a pure function of the trials before it, so a study that
was interrupted goes on to the same trials.
"""

from cnn_jax.studies.rounds._budget import budget_plans
from cnn_jax.studies.rounds._next import Round, next_round
from cnn_jax.studies.rounds._rules import REFINE, REPLICATED, UNTIL, Rules, read_rules
from cnn_jax.studies.rounds._search import limits

__all__ = [
    "REFINE", "REPLICATED", "Round", "Rules", "UNTIL", "budget_plans", "limits", "next_round",
    "read_rules",
]  # fmt: skip
