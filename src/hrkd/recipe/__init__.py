"""From YAML and flags to a checked recipe; every field is defined in :mod:`hrkd.recipe.loading.schema`."""
