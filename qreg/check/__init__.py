"""Checking a model: does it keep the contract, and which methods can quantize it?"""
