"""What computes a student's logits: torch, or what runs an export of it. A predictor asks any of them in one way."""
