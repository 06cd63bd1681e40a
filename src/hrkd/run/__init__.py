"""From a recipe to a measured student: commands, what they share, and the stages."""
