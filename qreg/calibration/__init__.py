"""Does the choice of calibration samples matter, and do the test data keep to their ranges?"""
