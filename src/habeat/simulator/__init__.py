"""The fault simulator: the real judge, machine, cycle, plans and journal in a made-up world, under seeded faults."""
