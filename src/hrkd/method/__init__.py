"""The paper, in tensors: prototypes, hierarchy, graph, ratios, losses, objective (docs/method.md). Imports torch alone."""
