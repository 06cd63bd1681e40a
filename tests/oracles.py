"""The equations of docs/method.md as slow loops over Python indices, float64: what the fast code is tested against."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def prototypes(states: Tensor, mask: Tensor, domain_ids: list[int], domains: int) -> Tensor:
    levels, rows, tokens, width = states.shape
    result = torch.zeros(levels, domains, width, dtype=torch.float64)
    for k in range(levels):
        for d in range(domains):
            vectors = [states[k, b, t] for b in range(rows) for t in range(tokens) if domain_ids[b] == d and mask[b, t]]
            result[k, d] = sum(vectors) / len(vectors)
    return result


def softmax(values: list[Tensor]) -> list[Tensor]:
    largest = max(v.item() for v in values)
    powers = [torch.exp(v - largest) for v in values]
    total = sum(powers)
    return [p / total for p in powers]


def compare_aggregate(p: Tensor, w1: Tensor | None, w2: Tensor) -> tuple[Tensor, Tensor]:
    levels, domains, _ = p.shape
    z, alphas = torch.zeros_like(p), torch.zeros(levels, levels, domains, dtype=p.dtype)
    for k in range(levels):
        for d in range(domains):
            if k == 0:
                z[k, d], alphas[0, 0, d] = p[0, d], 1.0
                continue
            if w1 is None:
                reference = p[k, d]
            else:
                attention = softmax([p[k, d] @ w1[k] @ p[k, e] for e in range(domains)])
                reference = sum(attention[e] * p[k, e] for e in range(domains))
            alpha = softmax([p[j, d] @ w2[k, d] @ reference for j in range(k + 1)])
            z[k, d] = sum(alpha[j] * p[j, d] for j in range(k + 1))
            for j in range(k + 1):
                alphas[k, j, d] = alpha[j]
    return z, alphas


def leaky_relu(x: Tensor) -> Tensor:
    return x if x > 0 else 0.2 * x


def elu(x: Tensor) -> Tensor:
    return x if x > 0 else torch.exp(x) - 1


def graph_attention(nodes: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """One level: nodes (D, F), weight (M, F, G), source and target (M, G) -> (D, M * G)."""
    heads, domains = len(weight), len(nodes)
    rows = []
    for i in range(domains):
        parts = []
        for m in range(heads):
            h = [nodes[j] @ weight[m] for j in range(domains)]
            attention = softmax([leaky_relu(source[m] @ h[i] + target[m] @ h[j]) for j in range(domains)])
            parts.append(sum(attention[j] * h[j] for j in range(domains)))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def published_graph(states: Tensor, relate: tuple[Tensor, ...], score: tuple[Tensor, ...]) -> Tensor:
    levels, domains, _ = states.shape
    scores = torch.zeros(levels, domains, dtype=states.dtype)
    for k in range(levels):
        hidden = graph_attention(states[k], *(w[k] for w in relate))
        for d in range(domains):
            for i in range(hidden.shape[1]):
                hidden[d, i] = elu(hidden[d, i])
        out = graph_attention(hidden, *(w[k] for w in score))
        for d in range(domains):
            scores[k, d] = elu(out[d, 0])
    return scores


def centred(p: Tensor) -> Tensor:
    levels, domains, width = p.shape
    result = torch.zeros_like(p)
    for k in range(levels):
        for i in range(width):
            mean = sum(p[k, d, i] for d in range(domains)) / domains
            for d in range(domains):
                result[k, d, i] = p[k, d, i] - mean
        square = sum(result[k, d, i] ** 2 for d in range(domains) for i in range(width)) / (domains * width)
        result[k] /= square**0.5
    return result


def relational_graph(
    states: Tensor, left: Tensor, right: Tensor, own: Tensor, attention: Tensor, readout: Tensor
) -> Tensor:
    levels, domains, _ = states.shape
    heads, width = attention.shape[1:]
    scores = torch.zeros(levels, domains, dtype=states.dtype)
    for k in range(levels):
        for i in range(domains):
            for m in range(heads):
                x = states[k]
                pairs = [x[i] @ left[k, m] + x[j] @ right[k, m] for j in range(domains)]
                logits = [sum(attention[k, m, g] * leaky_relu(pair[g]) for g in range(width)) for pair in pairs]
                weights = softmax(logits)
                y = x[i] @ own[k, m] + sum(weights[j] * (x[j] @ right[k, m]) for j in range(domains))
                scores[k, i] += sum(readout[k, m * width + g] * elu(y[g]) for g in range(width))
    return scores


def hidden_losses(fitted: Tensor, teacher: list[Tensor], mask: Tensor, domain_ids: list[int], domains: int) -> Tensor:
    levels, rows, tokens, width = fitted.shape
    table = torch.zeros(levels, domains, dtype=torch.float64)
    for k in range(levels):
        for d in range(domains):
            total, count = 0.0, 0
            for b in range(rows):
                for t in range(tokens):
                    if domain_ids[b] == d and mask[b, t]:
                        for i in range(width):
                            total += (fitted[k, b, t, i] - teacher[k][b, t, i]) ** 2
                            count += 1
            table[k, d] = total / count
    return table


def attention_losses(
    student: list[Tensor], teacher: list[Tensor], mask: Tensor, domain_ids: list[int], domains: int
) -> Tensor:
    table = torch.zeros(len(student), domains, dtype=torch.float64)
    for k, (s, t) in enumerate(zip(student, teacher, strict=True)):
        for d in range(domains):
            total, count = 0.0, 0
            for b in range(s.shape[0]):
                for n in range(s.shape[1]):
                    for q in range(s.shape[2]):
                        for j in range(s.shape[3]):
                            if domain_ids[b] == d and mask[b, q] and mask[b, j]:
                                total += (s[b, n, q, j] - t[b, n, q, j]) ** 2
                                count += 1
            table[k, d] = total / count
    return table


def prediction_losses(
    student: Tensor, teacher: Tensor, domain_ids: list[int], domains: int, temperature: float
) -> Tensor:
    losses = torch.zeros(domains, dtype=torch.float64)
    for d in range(domains):
        rows = [b for b in range(len(domain_ids)) if domain_ids[b] == d]
        for b in rows:
            target = softmax(list(teacher[b] / temperature))
            guess = softmax(list(student[b] / temperature))
            losses[d] -= temperature**2 * sum(p * math.log(q) for p, q in zip(target, guess, strict=True)) / len(rows)
    return losses


def means(function):
    """A function that gives sums, giving the means that they are of."""
    return lambda *arguments, **options: function(*arguments, **options).mean
