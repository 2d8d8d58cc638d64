"""The dishonest server: faults of served models, each by a name and each one small change, for whoever tests a probe."""
