"""What users asked and got, as the service recorded it: how it drifts from the evaluation set, what can be learnt."""
