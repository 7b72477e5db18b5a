"""One prediction out of several: averages, ranks, votes and STAPLE over files of any origin."""
