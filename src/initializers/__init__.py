"""How weights are drawn: each law states its variance and kurtosis, which one test compares with draws of all laws."""
