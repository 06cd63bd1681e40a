"""The paper, in tensors (docs/method.md): prototypes, hierarchy, graph, ratios, losses. Imports torch alone."""
