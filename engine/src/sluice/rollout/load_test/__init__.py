"""The load stage of a canary, for Locust: its parameters, what users measured, the verdict. Users are in loadtest/."""
