"""Make-believe studies with known truth, to try a whole pipeline without patient data."""
