"""The embedded lab: two sites on loopback addresses, a Carbonio simulator and a witness, driven by the real habeat."""
