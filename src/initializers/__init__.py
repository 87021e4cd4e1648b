"""How weights are drawn: each law states its variance and kurtosis, one table-driven test holds all to account."""
