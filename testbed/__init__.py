"""Pure core of a testbed: no Pulumi, no torch."""
