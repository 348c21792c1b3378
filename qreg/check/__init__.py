"""Before anything is recorded: does a model keep the contract, and which methods quantize it?"""
