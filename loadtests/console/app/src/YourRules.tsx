// Any namespace's rules: what would be asked about them, and, once they are judged, whether the mesh follows them.
import { useCallback, useState } from "react";
import {
  Alert, Box, Button, Chip, LinearProgress, Paper, Table, TableBody, TableCell, TableContainer, TableRow, TextField, Typography,
  useMediaQuery, useTheme,
} from "@mui/material";
import { ask, usePolled } from "./api";
import { Interval } from "./Interval";
import { useLanguage } from "./language";
import { colorOf, figures, Heads, Loading, Page, percent, Problem } from "./parts";
import type { ClassVerdict, Outcome, Share } from "./run";
import { NamespaceField, namespaceOfPage } from "./Topology";
import { lab } from "./templateArgs";

interface Check {
  name: string;
  /** The requests, in words. */
  calls: string[];
  /** Outcome -> share of it, fraction of 1. */
  expected: Record<string, number>;
  requests: number;
}

interface Plan {
  namespace: string;
  checks: Check[];
  gaps: { where: string; why: string; outcome: Outcome }[];
  warnings: string[];
  /** Fields that the verdict is not about. */
  unseen: string[];
  bounds: { rate: number; total: number; seconds: number };
}

interface Judging {
  active: boolean;
  stopping: boolean;
  namespace: string;
  /** Name of the one check that is judged; empty for all. */
  only: string;
  sent: number;
  /** So far; with facts once it is final. */
  verdict: { outcome: Outcome; reasons: string[]; classes: ClassVerdict[]; facts?: { seconds: number; margin: number; remarks: string[] } } | null;
  error: string;
  /** Why nothing can be judged here; empty if something can. */
  not_here: string;
}

/** Of a share, until the run's own margin is known. */
const MARGIN = 0.05;

function Verdict({ judging, stop }: { judging: Judging; stop: () => void }) {
  const { word } = useLanguage();
  const { active, verdict, namespace, only, error, sent } = judging;
  if (!namespace) return null;
  const about = only ? `${namespace}, ${only}` : namespace;
  if (active) {
    const decided = verdict?.classes.filter(({ outcome }) => outcome !== "INCONCLUSIVE").length ?? 0;
    const all = verdict?.classes.length ?? 0;
    const summary = verdict ? `${sent} ${word("n_requests")}, ${decided} / ${all} ${word("decided")}` : word("starting_probes");
    return (
      <Alert
        action={
          <Button color="inherit" disabled={judging.stopping} onClick={stop} size="small">
            {word("stop")}
          </Button>
        }
        data-judging="active" severity="info" sx={{ my: 1, overflowWrap: "anywhere", "& .MuiAlert-message": { flexGrow: 1 } }}
      >
        {about}: {judging.stopping ? word("stopping") : summary}
        <LinearProgress aria-label={summary} sx={{ mt: 1 }} {...(all ? ({ value: (100 * decided) / all, variant: "determinate" } as const) : {})} />
      </Alert>
    );
  }
  if (!verdict?.facts) return error ? <Alert data-judging="ended" severity="error" sx={{ my: 1, overflowWrap: "anywhere" }}>{`${about}: ${error}`}</Alert> : null;
  const severity = ({ PASS: "success", FAIL: "error" } as const)[verdict.outcome as "PASS"] ?? "warning";
  const rest = [...verdict.reasons.filter((reason) => !verdict.classes.some((one) => one.reason === reason)), ...verdict.facts.remarks];
  return (
    <Alert data-judging="ended" severity={severity} sx={{ my: 1, overflowWrap: "anywhere" }} variant="outlined">
      <b>
        {about}: <span data-judged>{verdict.outcome}</span>
      </b>{" "}
      ({sent} {word("n_requests")}, {verdict.facts.seconds.toFixed(0)} s)
      {rest.map((line) => (
        <div key={line}>{line}</div>
      ))}
    </Alert>
  );
}

interface RowProps {
  check: Check;
  found: ClassVerdict | undefined;
  margin: number;
  disabled: boolean;
  judge: () => void;
}

/** An outcome that is expected or was seen. */
interface Line {
  version: string;
  expected: number;
  /** None before there was a request. */
  seen: Share | undefined;
}

/** A route's outcomes: those that are expected, and then others that were seen. */
function linesOf({ check, found }: RowProps): Line[] {
  const shares = found?.n ? found.shares : [];
  const expected = Object.entries(check.expected).map(([version, share]) => ({ version, expected: share }));
  return [...expected, ...shares.filter(({ version }) => !(version in check.expected))].map(({ version, expected: share }) => ({
    version, expected: share, seen: shares.find((one) => one.version === version),
  }));
}

function Asked({ check, found }: RowProps) {
  return (
    <Box sx={{ overflowWrap: "anywhere" }}>
      <b>{check.name}</b>
      {check.calls.map((call) => (
        <Typography color="text.secondary" component="div" key={call} variant="body2">
          {call}
        </Typography>
      ))}
      {found && found.outcome !== "PASS" && <Typography variant="body2">{found.reason}</Typography>}
    </Box>
  );
}

function Decided({ check, found, disabled, judge }: RowProps) {
  const { word } = useLanguage();
  return (
    <Box>
      <Box sx={{ color: colorOf(found?.outcome ?? null), fontWeight: 600, whiteSpace: "nowrap" }}>{found?.outcome ?? word("not_judged")}</Box>
      <Button aria-label={`${word("judge_one")} ${check.name}`} disabled={disabled} onClick={judge} size="small" sx={{ mt: 0.5 }} variant="outlined">
        {word("judge_one")}
      </Button>
    </Box>
  );
}

function CheckRows(props: RowProps) {
  const { check, margin } = props;
  const lines = linesOf(props);
  return (
    <>
      {lines.map(({ version, expected, seen }, index) => (
        <TableRow data-check={`${check.name}>${version}`} key={version} sx={{ "& > *": { verticalAlign: "top" } }}>
          {index === 0 && (
            <>
              <TableCell component="th" rowSpan={lines.length} scope="row">
                <Asked {...props} />
              </TableCell>
              <TableCell rowSpan={lines.length}>
                <Decided {...props} />
              </TableCell>
            </>
          )}
          <TableCell sx={{ fontWeight: 600, overflowWrap: "anywhere" }}>{version}</TableCell>
          <TableCell sx={figures}>{percent(expected)}</TableCell>
          <TableCell sx={{ ...figures, fontWeight: 600 }}>{seen && percent(seen.observed)}</TableCell>
          <TableCell>{seen && <Interval margin={margin} share={seen} />}</TableCell>
          <TableCell sx={figures}>{seen ? seen.count : index ? "" : `≈ ${check.requests}`}</TableCell>
        </TableRow>
      ))}
    </>
  );
}

/** A route where rows would be too narrow. */
function CheckCard(props: RowProps) {
  const { word } = useLanguage();
  const { check, margin } = props;
  return (
    <Paper component="li" data-check={check.name} sx={{ mb: 1, p: 1 }} variant="outlined">
      <Box sx={{ display: "flex", gap: 1, justifyContent: "space-between" }}>
        <Asked {...props} />
        <Decided {...props} />
      </Box>
      {linesOf(props).map(({ version, expected, seen }) => (
        <Box key={version} sx={{ mt: 1 }}>
          <Box sx={{ fontWeight: 600, overflowWrap: "anywhere" }}>{version}</Box>
          <Typography variant="body2">
            {word("expected")} {percent(expected)}
            {seen && `, ${word("observed")} ${percent(seen.observed)} (${seen.count})`}
          </Typography>
          {seen && <Interval margin={margin} share={seen} />}
        </Box>
      ))}
    </Paper>
  );
}

function Checks({ plan, judging, disabled, judge }: { plan: Plan; judging: Judging | undefined; disabled: boolean; judge: (only: string) => void }) {
  const { word } = useLanguage();
  const { breakpoints } = useTheme();
  const narrow = useMediaQuery(breakpoints.down("md"));
  const verdict = judging?.namespace === plan.namespace ? judging.verdict : null;
  const rows = plan.checks.map((check): RowProps => ({
    check, disabled, found: verdict?.classes.find(({ name }) => name === check.name), judge: () => judge(check.name), margin: verdict?.facts?.margin ?? MARGIN,
  }));
  if (narrow) {
    return (
      <Box component="ul" sx={{ listStyle: "none", my: 2, p: 0 }}>
        {rows.map((row) => (
          <CheckCard {...row} key={row.check.name} />
        ))}
        {plan.gaps.map(({ where, why, outcome }) => (
          <Paper component="li" data-gap={where} key={`${where} ${why}`} sx={{ mb: 1, overflowWrap: "anywhere", p: 1 }} variant="outlined">
            <b>{where}</b>: {why} <Box component="span" sx={{ color: colorOf(outcome), fontWeight: 600 }}>{outcome}</Box>
          </Paper>
        ))}
      </Box>
    );
  }
  const heads = (["route", "outcome", "destination", "expected", "observed", "interval", "requests"] as const).map(word);
  return (
    <TableContainer aria-label={word("your_rules")} component={Paper} role="region" sx={{ my: 2 }} tabIndex={0} variant="outlined">
      <Table size="small">
        <Heads names={heads} widths={["16rem", undefined, "13rem"]} />
        <TableBody>
          {rows.map((row) => (
            <CheckRows {...row} key={row.check.name} />
          ))}
          {plan.gaps.map(({ where, why, outcome }) => (
            <TableRow data-gap={where} key={`${where} ${why}`} sx={{ "& > *": { verticalAlign: "top" } }}>
              <TableCell component="th" scope="row" sx={{ overflowWrap: "anywhere" }}>
                <b>{where}</b>
              </TableCell>
              <TableCell sx={{ color: colorOf(outcome), fontWeight: 600 }}>{outcome}</TableCell>
              <TableCell colSpan={5}>{why}</TableCell>
            </TableRow>
          ))}
        </TableBody>
      </Table>
    </TableContainer>
  );
}

function Lines({ title, lines }: { title: string; lines: string[] }) {
  if (!lines.length) return null;
  return (
    <Box component="section" sx={{ my: 2 }}>
      <Typography component="h2" variant="subtitle1">
        {title}
      </Typography>
      <Box component="ul" sx={{ m: 0, overflowWrap: "anywhere" }}>
        {lines.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </Box>
    </Box>
  );
}

export function YourRules() {
  const { word } = useLanguage();
  const [namespace, setNamespace] = useState(() => namespaceOfPage(lab.others));
  const [confirmed, confirm] = useState("");
  const [refused, setRefused] = useState<Error>();
  const { data: judging, error: lost, again } = usePolled(useCallback(() => ask<Judging>("mesh/judge"), []), 1000);
  const notHere = judging?.not_here;
  // A plan is a process of its own, so it is made when it is asked for, and again only if it has failed.
  const [turn, setTurn] = useState(0);
  const load = useCallback(() => (notHere === "" ? ask<Plan>(`mesh/judge/plan?namespace=${namespace}`) : Promise.resolve(undefined)), [namespace, notHere, turn]);
  const { data: plan, error } = usePolled(load, 24 * 3600 * 1000);
  const foreign = lab.others.includes(namespace);
  const disabled = !judging || judging.active || (foreign && confirmed !== namespace);
  const total = plan?.checks.reduce((sum, { requests }) => sum + requests, 0) ?? 0;

  const send = async (path: string, body: object) => {
    setRefused(undefined);
    try {
      await ask(path, body);
      await again();
    } catch (caught) {
      setRefused(caught as Error);
    }
  };
  const judge = (only: string) => void send("mesh/judge", { namespace, only, confirm: foreign ? confirmed : "" });

  if (notHere) {
    return (
      <Page lead={word("your_rules_lead")} title={word("your_rules")}>
        <Alert severity="info">{notHere}</Alert>
      </Page>
    );
  }
  return (
    <Page lead={word("your_rules_lead")} title={word("your_rules")}>
      <Box sx={{ alignItems: "center", display: "flex", flexWrap: "wrap", gap: 2, mb: 1 }}>
        <NamespaceField change={setNamespace} others={lab.others} value={namespace} />
        <Button onClick={() => setTurn(turn + 1)}>{word("plan_again")}</Button>
        {foreign && (
          <TextField
            autoComplete="off" helperText={word("confirm_help")} label={word("confirm")} onChange={(event) => confirm(event.target.value)} size="small" value={confirmed}
          />
        )}
        <Button disabled={disabled || !plan} onClick={() => judge("")} variant="contained">
          {word("judge_all")}
        </Button>
      </Box>
      <Problem error={refused ?? error ?? lost} />
      <Box role="status">{judging && <Verdict judging={judging} stop={() => void send("mesh/judge/stop", {})} />}</Box>
      {!plan && !error && !lost && <Loading />}
      {plan && (
        <>
          <Box sx={{ alignItems: "center", display: "flex", flexWrap: "wrap", gap: 1 }}>
            <Chip label={`${plan.checks.length} ${word("checks")}`} size="small" />
            <Chip label={`≈ ${total} ${word("n_requests")}, GET / HEAD`} size="small" />
            <Chip label={`${word("at_most")} ${plan.bounds.total} ${word("n_requests")}, ${plan.bounds.rate} /s, ${plan.bounds.seconds} s`} size="small" />
          </Box>
          <Checks disabled={disabled} judge={judge} judging={judging} plan={plan} />
          <Lines lines={plan.warnings} title={word("warnings")} />
          <Lines lines={plan.unseen} title={word("not_part")} />
        </>
      )}
    </Page>
  );
}
