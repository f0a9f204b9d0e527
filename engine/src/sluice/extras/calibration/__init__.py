"""How far the judge of answers agrees with people."""
