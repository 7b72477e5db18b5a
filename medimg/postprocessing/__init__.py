"""What is done to masks after the network: components, holes, region rules, dense CRF."""
