"""What a step of discrete adversarial training costs."""
