// Which service calls which: the call graph, and the same calls in a table; the rules for a chosen call, and how they came about.
import { lazy, Suspense, useCallback, useState } from "react";
import { Alert, Box, Button, Link, Paper, Table, TableBody, TableCell, TableContainer, TableRow, TextField, Typography } from "@mui/material";
import { pushQuery } from "locust-ui";
import { ask, usePolled } from "./api";
import { History } from "./History";
import { useLanguage } from "./language";
import type { Edge, Graph } from "./layout";
import { Answer, figures, Heads, Loading, Manifest, Page, percent, Problem, sharesInWords } from "./parts";
import { openTab, useRun, type Run } from "./run";
import type { State } from "./settingsForm";
import { lab } from "./templateArgs";

// With the graph's library, which the other pages do not need.
const CallGraph = lazy(() => import("./CallGraph").then((module) => ({ default: module.CallGraph })));

const RateChart = lazy(() => import("./RateChart").then((module) => ({ default: module.RateChart })));

/** The namespace in the page's address, if it is the lab's or one of `others`. */
export function namespaceOfPage(others: string[] = []): string {
  const asked = new URLSearchParams(window.location.search).get("namespace") ?? "";
  return [...lab.namespaces, ...others].includes(asked) ? asked : "bookinfo";
}

/** The choice of a namespace, kept in the page's address. */
export function NamespaceField({ value, change, others = [] }: { value: string; change: (namespace: string) => void; others?: string[] }) {
  const { word } = useLanguage();
  return (
    <TextField
      label={word("namespace")} select size="small" slotProps={{ select: { native: true } }} sx={{ minWidth: "10rem" }} value={value}
      onChange={(event) => {
        pushQuery({ namespace: event.target.value });
        change(event.target.value);
      }}
    >
      {[...others, ...lab.namespaces].map((name) => (
        <option key={name}>{name}</option>
      ))}
    </TextField>
  );
}

/** The outcome of the latest run, if it was about this split. */
function outcomeOf(run: Run | undefined, namespace: string, service: string, expected: [string, number][]) {
  if (!run?.epoch || run.beginning || run.namespace !== namespace || run.service !== service || run.classes.length !== 1) return null;
  const judged = run.classes[0]!.shares.filter((share) => share.expected > 0);
  const same = judged.length === expected.length && judged.every((share) => expected.some(([version, part]) => version === share.version && Math.abs(part - share.expected) < 1e-6));
  return same ? run.outcome : null;
}

/** Each split that the namespace's rules declare, what is observed now, and what came of the latest run about it. */
function Splits({ graph, namespace }: { graph: Graph; namespace: string }) {
  const { word } = useLanguage();
  const { run } = useRun();
  const services = [...new Set(graph.versions.filter(({ expected }) => expected !== null).map(({ service }) => service))];
  const split = services.filter((service) => graph.versions.filter((version) => version.service === service).length > 1);
  return split.map((service) => {
    const expected = graph.versions.flatMap((one): [string, number][] => (one.service === service && one.expected ? [[one.version, one.expected]] : []));
    const calls = graph.edges.filter((edge) => edge.service === service && !edge.blocked);
    const observed = [...new Set(calls.map(({ source }) => source))].map((source) => {
      const shares = calls.filter((edge) => edge.source === source).map((edge): [string, number] => [edge.version, edge.share]);
      return `${word("observed_now")}, ${source}: ${sharesInWords(shares)}`;
    });
    const outcome = outcomeOf(run, namespace, service, expected);
    return (
      <Paper key={service} sx={{ mb: 2, p: 1.5 }} variant="outlined">
        <Answer expected={expected} outcome={outcome} subject={service}>
          {observed.map((line) => (
            <div key={line}>{line}</div>
          ))}
          <Link component="button" onClick={() => openTab(outcome ? "verdict" : "catalogue")} sx={{ verticalAlign: "baseline" }}>
            {outcome ? word("verdict") : word("judge_it")}
          </Link>
        </Answer>
      </Paper>
    );
  });
}

function Calls({ edges, chosen, choose }: { edges: Edge[]; chosen: string; choose: (edge: string) => void }) {
  const { word } = useLanguage();
  const heads = [...(["from", "to", "expected", "observed", "rate", "errors"] as const).map(word), "p99", word("security")];
  return (
    <TableContainer aria-label={word("topology")} component={Paper} role="region" sx={{ mt: 2 }} tabIndex={0} variant="outlined">
      <Table size="small">
        <Heads names={heads} />
        <TableBody>
          {edges.map((edge) => {
            const id = `${edge.source}>${edge.target}`;
            const security = edge.blocked ? "blocked" : edge.mtls ? "mtls" : "plain";
            return (
              <TableRow data-edge={id} hover key={id} onClick={() => choose(id)} selected={[id, edge.source, edge.target].includes(chosen)}>
                <TableCell component="th" scope="row">
                  {edge.source}
                </TableCell>
                <TableCell>{edge.target}</TableCell>
                <TableCell sx={figures}>{edge.expected === null ? "" : percent(edge.expected)}</TableCell>
                <TableCell sx={figures}>{percent(edge.share)}</TableCell>
                <TableCell sx={figures}>{edge.rate.toFixed(1)} /s</TableCell>
                <TableCell sx={edge.errors > 0.01 ? { ...figures, color: "error.main", fontWeight: 600 } : figures}>{percent(edge.errors)}</TableCell>
                <TableCell sx={figures}>{edge.p99 === null ? "" : `${edge.p99.toFixed(0)} ms`}</TableCell>
                <TableCell sx={edge.blocked ? { ...figures, color: "error.main", fontWeight: 600 } : figures}>{word(security)}</TableCell>
              </TableRow>
            );
          })}
        </TableBody>
      </Table>
    </TableContainer>
  );
}

/** The rules for calls to a service, and the changes that were made to them. */
function RulesFor({ namespace, service }: { namespace: string; service: string }) {
  const { word } = useLanguage();
  const query = new URLSearchParams({ namespace, service }).toString();
  const { data, error } = usePolled(useCallback(() => ask<State>(`mesh/settings/state?${query}`), [query]), 10000);
  if (!data) return error ? <Problem error={error} /> : <Loading />;
  const rules = data.rules.filter(({ kind, name }) => kind !== "ServiceEntry" && data.behind.includes(`${kind} ${name}`));
  return (
    <>
      <Problem error={error} />
      {!rules.length && <Alert severity="info">{word("no_routes")}</Alert>}
      {rules.map((rule) => (
        <Manifest key={`${rule.kind} ${rule.name}`} rule={rule} />
      ))}
      <History history={data.history.filter((past) => past.service === service)} />
    </>
  );
}

export function Topology() {
  const { word } = useLanguage();
  const [namespace, setNamespace] = useState(namespaceOfPage);
  const [chosen, choose] = useState("");
  const { data, error } = usePolled(useCallback(() => ask<Graph>(`mesh/topology?namespace=${namespace}`), [namespace]), 3000);
  const picked = data?.edges.find((edge) => `${edge.source}>${edge.target}` === chosen);
  const service = picked?.service ?? data?.versions.find(({ name }) => name === chosen)?.service;
  const settable = data?.versions.some((version) => version.service === service);
  return (
    <Page lead={word("topology_lead")} title={word("topology")}>
      <Box sx={{ alignItems: "center", display: "flex", flexWrap: "wrap", gap: 2, mb: 2 }}>
        <NamespaceField change={setNamespace} value={namespace} />
        {service && settable && (
          <Button onClick={() => openTab("settings", { namespace, service })} variant="outlined">
            {word("open_settings")} {service}
          </Button>
        )}
      </Box>
      <Problem error={error} />
      <Box role="status">
        {data?.notice && <Alert severity="warning">{data.notice}</Alert>}
        {data && !data.versions.length && !data.edges.length && <Alert severity="info">{`${namespace} ${word("no_services")}`}</Alert>}
        {data && !data.notice && data.versions.length > 0 && !data.edges.length && <Alert severity="info">{word("no_traffic")}</Alert>}
      </Box>
      {!data && !error && <Loading />}
      {data && <Splits graph={data} namespace={namespace} />}
      {data && (data.versions.length > 0 || data.edges.length > 0) && (
        <Suspense fallback={<Loading />}>
          <CallGraph choose={choose} chosen={chosen} graph={data} />
        </Suspense>
      )}
      {(picked || service) && (
        <Box aria-label={word("judged_rules")} component="section" data-rules={chosen} sx={{ mt: 2 }}>
          {picked && (
            <Suspense fallback={<Loading />}>
              <RateChart edge={picked} key={chosen} namespace={namespace} />
            </Suspense>
          )}
          <Typography component="h2" gutterBottom variant="h6">
            {word("judged_rules")}: {picked ? `${picked.source} → ${picked.target}` : service}
          </Typography>
          {picked?.blocked && <Alert severity="error">{word("not_allowed")}</Alert>}
          {service && settable && <RulesFor namespace={namespace} service={service} />}
          {!settable && !picked?.blocked && <Alert severity="info">{word("not_here")}</Alert>}
        </Box>
      )}
      {data && data.edges.length > 0 && <Calls choose={choose} chosen={chosen} edges={data.edges} />}
    </Page>
  );
}
