// Weights of a route's versions, which always sum to 100.
export type Weights = Record<string, number>;

export const TOTAL = 100;

/** The weights with one of them set; the others share the rest in their former proportions, or equally if they had none. */
export function withWeight(weights: Weights, name: string, value: number): Weights {
  const others = Object.keys(weights).filter((other) => other !== name);
  const set = others.length ? Math.min(TOTAL, Math.max(0, Math.round(value))) : TOTAL;
  const rest = TOTAL - set;
  const before = others.reduce((sum, other) => sum + weights[other]!, 0);
  const exact = others.map((other) => (before ? (weights[other]! / before) * rest : rest / others.length));
  const found: Weights = { ...weights, [name]: set };
  others.forEach((other, index) => (found[other] = Math.floor(exact[index]!)));
  // What rounding down has left over goes to those that lost most by it.
  const byLoss = others.map((other, index) => [other, exact[index]! % 1] as const).sort((a, b) => b[1] - a[1]);
  let left = rest - others.reduce((sum, other) => sum + found[other]!, 0);
  for (const [other] of byLoss) {
    if (left <= 0) break;
    found[other]! += 1;
    left -= 1;
  }
  return found;
}
