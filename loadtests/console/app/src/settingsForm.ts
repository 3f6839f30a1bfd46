// Values of the traffic settings, as the console reads and writes them.
import { lab, type Field } from "./templateArgs";
import type { Weights } from "./weights";

export type Value = string | number | null;
export type Values = Record<string, Value>;

/** A route: its fields by name, and what is no field. */
export interface Route {
  /** The rule's own route that this one comes from; none for a new one. */
  from: number | null;
  /** None if the route leads to another service. */
  weights: Weights | null;
  /** Whether its conditions are more than the form can show. */
  kept?: boolean;
  [field: string]: Value | Weights | boolean | undefined;
}

export interface Form {
  routes: Route[];
  destination: Values;
  rate: Values;
  mtls: Values;
  /** None if anybody may call. */
  callers: string[] | null;
  egress: Values[];
}

export interface Rule {
  kind: string;
  name: string;
  owner: string;
  ours: boolean;
  manifest: string;
}

export interface Past {
  number: number;
  when: string;
  who: string;
  service: string;
  undoes: number | null;
  diff: string;
  /** Whether it can be undone. */
  open: boolean;
}

export interface State {
  service: string;
  services: string[];
  accounts: string[];
  /** Names that weights may use. */
  weights: string[];
  values: Form;
  /** Part of the form -> owner of its rule, where that is not the lab. */
  locks: Record<string, string>;
  rules: Rule[];
  /** Kind and name of the rules behind the form. */
  behind: string[];
  /** Fields of the lab's rules that the form does not know. */
  unknown: string[];
  history: Past[];
  /** The entry to judge; none if it belongs to another namespace. */
  entry: string | null;
}

export interface Compared {
  name: string;
  before: string;
  after: string;
}

export const field = (part: string, name: string): Field =>
  lab.fields[part]?.find((one) => one.name === name) ?? { name, kind: "text", low: 0, high: 100, choices: [], needs: "" };

/** Names that the weights of a route may use; "" is the whole service. */
export function namesOf(route: Route, weights: string[]): string[] {
  return [...new Set([...(weights.length ? [] : [""]), ...Object.keys(route.weights ?? {}), ...weights])].sort();
}

/** A route's weights with a value for every name. */
export const allWeights = (route: Route, names: string[]): Weights => Object.fromEntries(names.map((name) => [name, route.weights?.[name] ?? 0]));

/** Weights as the console expects them: without names that had no weight before and have none now. */
export function withWeights(route: Route, original: Route | undefined, weights: Weights): Route {
  const kept = Object.entries(weights).filter(([name, weight]) => weight || name in (original?.weights ?? {}));
  return { ...route, weights: Object.fromEntries(kept) };
}

export function newRoute(weights: string[]): Route {
  const names = weights.length ? weights : [""];
  return { from: null, weights: Object.fromEntries(names.map((name, index) => [name, index ? 0 : 100])) };
}

export const GROUPS = [
  ["breaker", "destination", ["connections", "pending", "per_connection"]],
  ["ejection", "destination", ["eject_after", "eject_interval", "eject_time", "eject_percent"]],
  ["rate_limit", "rate", ["rate_requests", "rate_seconds"]],
  ["mutual_tls", "mtls", ["mtls"]],
] as const;

export const ROUTE_GROUPS = [
  ["condition", ["header", "header_value", "uri_prefix", "method"]],
  ["mirroring", ["mirror", "mirror_percent"]],
  ["fault", ["delay", "delay_percent", "abort", "abort_percent"]],
  ["patience", ["timeout", "retries", "retry_timeout", "retry_on"]],
] as const;
