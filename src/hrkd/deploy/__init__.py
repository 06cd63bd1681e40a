"""The student leaves the house: prediction, export, model card."""
