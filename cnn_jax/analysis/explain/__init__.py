"""Why a trained network answers as it does."""
