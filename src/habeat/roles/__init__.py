"""What each role watches and its plan of steps; the machine, the cycle and the journal are the same for all."""
