// The call graph: services as boxes with their versions, calls as edges.
import { useEffect, useMemo, useState } from "react";
import {
  Background, Controls, Handle, MarkerType, MiniMap, Position, ReactFlow, useReactFlow, useStore, type Edge as Line, type Node, type NodeProps,
} from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import { Box, useMediaQuery, useTheme } from "@mui/material";
import { useLanguage } from "./language";
import { boxOf, isAlone, LABELLED, placesOf, servicesOf, type Edge, type Graph, type Place, type Services } from "./layout";
import { percent } from "./parts";

export const idOf = ({ source, target }: Edge) => `${source}>${target}`;

type VersionNode = Node<{ label: string; note: string; narrow: boolean }, "version">;
type ServiceNode = Node<{ label: string }, "service">;

function VersionBox({ data }: NodeProps<VersionNode>) {
  return (
    <Box
      sx={{
        alignItems: "center", bgcolor: "background.paper", border: 1, borderColor: "divider", borderRadius: 1, color: "text.primary", display: "flex",
        flexDirection: "column", fontSize: 13, height: "100%", justifyContent: "center", lineHeight: 1.2, overflow: "hidden", textAlign: "center",
      }}
    >
      <Handle position={data.narrow ? Position.Top : Position.Left} style={{ visibility: "hidden" }} type="target" />
      <b style={{ maxWidth: "100%", overflow: "hidden", textOverflow: "ellipsis" }} title={data.label}>
        {data.label}
      </b>
      {data.note && <Box sx={{ color: "text.secondary", fontSize: 11 }}>{data.note}</Box>}
      <Handle position={data.narrow ? Position.Bottom : Position.Right} style={{ visibility: "hidden" }} type="source" />
    </Box>
  );
}

function ServiceBox({ data }: NodeProps<ServiceNode>) {
  return (
    <Box sx={{ bgcolor: "action.hover", border: 1, borderColor: "divider", borderRadius: 2, color: "text.primary", height: "100%", px: 1, py: 0.5 }}>
      <b style={{ display: "block", overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" }} title={data.label}>
        {data.label}
      </b>
    </Box>
  );
}

const TYPES = { version: VersionBox, service: ServiceBox };

function nodesOf(services: Services, places: Map<string, Place>, narrow: boolean, note: (share: number) => string): Node[] {
  return [...services].flatMap(([service, nodes]) => {
    const { x, y, width, height } = places.get(boxOf(service))!;
    const box: Node = { id: boxOf(service), type: "service", position: { x, y }, width, height, data: { label: isAlone(service, nodes) ? "" : service }, selectable: false };
    const inside = nodes.map(({ id, label, expected }): Node => {
      const place = places.get(id)!;
      const data = { label, narrow, note: expected === null ? "" : note(expected) };
      return { id, type: "version", parentId: box.id, extent: "parent", position: { x: place.x, y: place.y }, width: place.width, height: place.height, data };
    });
    return [box, ...inside];
  });
}

const FRAME = {
  border: 1, borderColor: "divider", borderRadius: 1, height: "60vh", minHeight: 320, "& .react-flow__attribution a": { color: "text.secondary" },
};

/** More services than this are too small to be read if all of them are in view. */
const IN_VIEW = 12;

/** Shows the whole graph, also after its frame has changed its size; of many services, as many as can be read. */
function Fit({ services }: { services: number }) {
  const { fitView } = useReactFlow();
  const width = useStore((state) => state.width);
  useEffect(() => {
    if (width) void fitView({ minZoom: services > IN_VIEW ? 0.6 : 0.1, padding: 0.05 });
  }, [fitView, services, width]);
  return null;
}

interface Props {
  graph: Graph;
  chosen: string;
  choose: (edge: string) => void;
}

export function CallGraph({ graph, chosen, choose }: Props) {
  const { word } = useLanguage();
  const { palette, breakpoints } = useTheme();
  const narrow = useMediaQuery(breakpoints.down("md"));
  const [placed, setPlaced] = useState<{ shape: string; places: Map<string, Place> }>();
  const services = useMemo(() => servicesOf(graph), [graph]);
  // New numbers leave everything where it is; only other nodes or calls move it.
  const shape = JSON.stringify([narrow, [...services].map(([name, nodes]) => [name, nodes.map(({ id }) => id)]), graph.edges.map(idOf).sort()]);
  useEffect(() => {
    let outdated = false;
    void placesOf(services, graph.edges, narrow).then((places) => !outdated && setPlaced({ shape, places }));
    return () => {
      outdated = true;
    };
    // eslint-disable-next-line -- the rest follows from the shape
  }, [shape]);
  if (placed?.shape !== shape) return <Box sx={{ height: "60vh" }} />;

  const label = (edge: Edge) => {
    if (edge.blocked) return word("blocked");
    const digits = narrow ? 0 : 1;
    const shares = [edge.share, ...(edge.expected === null ? [] : [edge.expected])].map((share) => percent(share, digits)).join(" / ");
    // Side by side, longer ones would hide each other.
    if (narrow) return shares;
    const errors = edge.errors > 0 ? ` · ${word("errors")} ${percent(edge.errors)}` : "";
    return `${shares} · ${edge.rate.toFixed(1)}/s${errors}`;
  };
  const lines = graph.edges.map((edge): Line => {
    const id = idOf(edge);
    const color = edge.blocked || edge.errors > 0.01 ? palette.error.main : palette.info.main;
    const labelled = graph.edges.length <= LABELLED || [id, edge.source, edge.target].includes(chosen);
    return {
      id, source: edge.source, target: edge.target, ariaLabel: `${edge.source} → ${edge.target}: ${label(edge)}`,
      className: edge.blocked ? "blocked" : "", label: labelled ? label(edge) : undefined,
      labelBgStyle: { fill: palette.background.paper }, labelStyle: { fill: palette.text.primary, fontSize: 12 }, zIndex: 1,
      markerEnd: { type: MarkerType.ArrowClosed, color },
      style: { stroke: color, strokeWidth: id === chosen ? 4 : 2, strokeDasharray: edge.blocked ? "6 5" : undefined },
    };
  });
  return (
    <Box aria-label={word("call_graph")} role="region" sx={FRAME}>
      <ReactFlow
        colorMode={palette.mode} edges={lines} key={shape} maxZoom={2} minZoom={0.1} nodeTypes={TYPES}
        nodes={nodesOf(services, placed.places, narrow, (share) => `${word("expected")} ${percent(share, narrow ? 0 : 1)}`)}
        nodesConnectable={false} nodesDraggable={false} onEdgeClick={(_, { id }) => choose(id)} onNodeClick={(_, { id }) => choose(id)}
      >
        <Fit services={services.size} />
        <Background />
        <Controls showInteractive={false} />
        {services.size > IN_VIEW && !narrow && <MiniMap ariaLabel={word("call_graph")} pannable zoomable />}
      </ReactFlow>
    </Box>
  );
}
