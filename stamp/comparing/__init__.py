"""One workflow under the four owners of its state, in turns on one broker, and what each costs: `stamp compare`."""
