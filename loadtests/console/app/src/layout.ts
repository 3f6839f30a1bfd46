// Places of services and versions in the call graph, computed by ELK. A service's versions lie inside its box.
import ELK, { type ElkNode } from "elkjs/lib/elk.bundled.js";

export interface Edge {
  source: string;
  target: string;
  service: string;
  version: string;
  /** Requests per second. */
  rate: number;
  /** Fraction of 1. */
  share: number;
  expected: number | null;
  errors: number;
  /** Milliseconds. */
  p99: number | null;
  mtls: boolean;
  blocked: boolean;
}

export interface Version {
  /** As in `Edge.target`. */
  name: string;
  service: string;
  version: string;
  expected: number | null;
}

export interface Graph {
  versions: Version[];
  edges: Edge[];
  /** Why there are no metrics; empty if there are. */
  notice: string;
}

export interface Place {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Service -> its nodes; a caller or host without pods here stands for itself. */
export type Services = Map<string, { id: string; label: string; expected: number | null }[]>;

const NODE = { width: 130, height: 44 };
/** Side by side on a narrow page. */
const NARROW_NODE = { width: 96, height: 44 };
const elk = new ELK();

export function servicesOf({ versions, edges }: Graph): Services {
  const found: Services = new Map();
  const known = new Set(versions.map(({ name }) => name));
  for (const { name, service, version, expected } of versions) {
    found.set(service, [...(found.get(service) ?? []), { id: name, label: version || service, expected }]);
  }
  for (const { source, target, service, version, blocked } of edges) {
    for (const [id, owner, label] of [[source, source, source], [target, blocked ? target : service, blocked ? target : version || target]] as const) {
      if (known.has(id)) continue;
      known.add(id);
      found.set(owner, [...(found.get(owner) ?? []), { id, label, expected: null }]);
    }
  }
  return found;
}

/** Whether a box holds nothing but the service itself, whose name is in it once. */
export const isAlone = (service: string, nodes: { label: string }[]) => nodes.length === 1 && nodes[0]!.label === service;

export const boxOf = (service: string) => `service ${service}`;

/** More labels than this hide each other: then only the chosen calls have theirs. */
export const LABELLED = 40;

/** Service boxes and nodes -> their place; that of a node is relative to its box.
 *
 * @param narrow whether calls go down instead of to the right
 */
export async function placesOf(services: Services, edges: Edge[], narrow: boolean): Promise<Map<string, Place>> {
  const between = narrow ? 64 : edges.length > LABELLED ? 90 : 200; // with room for labels
  const graph: ElkNode = {
    id: "root",
    layoutOptions: {
      "elk.algorithm": "layered",
      "elk.direction": narrow ? "DOWN" : "RIGHT",
      "elk.hierarchyHandling": "INCLUDE_CHILDREN",
      "elk.layered.spacing.nodeNodeBetweenLayers": `${between}`,
      "elk.spacing.nodeNode": "28",
    },
    children: [...services].map(([service, nodes]) => ({
      id: boxOf(service),
      layoutOptions: { "elk.padding": `[top=${isAlone(service, nodes) ? 12 : 34},left=12,bottom=12,right=12]`, "elk.spacing.nodeNode": narrow ? "14" : "26" },
      children: nodes.map(({ id }) => ({ id, ...(narrow ? NARROW_NODE : NODE) })),
    })),
    edges: edges.map(({ source, target }, index) => ({ id: `${index}`, sources: [source], targets: [target] })),
  };
  const found = new Map<string, Place>();
  const visit = (node: ElkNode) => {
    found.set(node.id, { x: node.x ?? 0, y: node.y ?? 0, width: node.width ?? 0, height: node.height ?? 0 });
    node.children?.forEach(visit);
  };
  (await elk.layout(graph)).children?.forEach(visit);
  return found;
}
