// The current run: each expected and observed share with its confidence sequence, now and over time, beside the applied rules.
import { useCallback } from "react";
import { Alert, Box, Chip, Paper, Table, TableBody, TableCell, TableContainer, TableRow, Typography } from "@mui/material";
import { ask, usePolled } from "./api";
import { BandChart } from "./BandChart";
import { Interval } from "./Interval";
import { useLanguage, type Word } from "./language";
import { Answer, colorOf, figures, Heads, Loading, Manifest, Page, percent, Problem } from "./parts";
import { useRun, type ClassVerdict, type Run } from "./run";
import type { Rule } from "./settingsForm";

/** The most traffic classes that are answered for one by one. */
const FEW = 3;

/** Which shares are expected, and whether they hold. */
function Answers({ run }: { run: Run }) {
  const { word } = useLanguage();
  if (run.classes.length > FEW) {
    const held = run.classes.filter(({ outcome }) => outcome === "PASS").length;
    return (
      <Typography component="p" data-answer="" sx={{ color: "text.primary", fontSize: "1.2rem", fontWeight: 600 }}>
        {held} / {run.classes.length} {word("classes_hold")}
      </Typography>
    );
  }
  return run.classes.map(({ name, outcome, shares, n }) => {
    const subject = [run.service, run.service && run.classes.length === 1 ? "" : name].filter(Boolean).join(", ");
    const label = (version: string) => version || word("service");
    const observed = shares.map((share) => `${label(share.version)} ${percent(share.observed)} (${percent(share.low)} – ${percent(share.high)})`);
    return (
      <Answer
        expected={shares.filter(({ expected }) => expected > 0).map(({ version, expected }) => [label(version), expected])} key={name} outcome={outcome} subject={subject}
      >
        {n > 0 && `${word("observed")}: ${observed.join(", ")}`}
      </Answer>
    );
  });
}

function Shares({ run }: { run: Run }) {
  const { word } = useLanguage();
  const heads = (["traffic", "version", "expected", "observed", "interval", "responses", "errors", "e_value", "needed", "outcome"] as const).map(word);
  if (!run.classes.length) return null;
  const eValue = ({ e_value }: ClassVerdict) => (e_value === "inf" ? "∞" : e_value.toPrecision(3));
  return (
    <TableContainer aria-label={word("verdict")} component={Paper} role="region" sx={{ my: 2 }} tabIndex={0} variant="outlined">
      <Table size="small">
        <Heads names={heads} />
        <TableBody>
          {run.classes.flatMap((one) =>
            one.shares.map((share, index) => (
              <TableRow data-share={`${one.name}>${share.version}`} key={`${one.name}>${share.version}`}>
                {index === 0 && (
                  <TableCell component="th" rowSpan={one.shares.length} scope="row">
                    {one.name}
                  </TableCell>
                )}
                <TableCell sx={{ fontWeight: 600 }}>{share.version || word("service")}</TableCell>
                <TableCell sx={figures}>{percent(share.expected)}</TableCell>
                <TableCell sx={{ ...figures, fontWeight: 600 }}>{percent(share.observed)}</TableCell>
                <TableCell>
                  <Interval margin={run.margin} share={share} />
                </TableCell>
                <TableCell>{share.count}</TableCell>
                {index === 0 && (
                  <>
                    <TableCell rowSpan={one.shares.length}>{one.errors}</TableCell>
                    <TableCell rowSpan={one.shares.length}>{eValue(one)}</TableCell>
                    <TableCell rowSpan={one.shares.length}>{one.still_needed || ""}</TableCell>
                    <TableCell rowSpan={one.shares.length} sx={{ color: colorOf(one.outcome), fontWeight: 600 }}>
                      {one.outcome}
                    </TableCell>
                  </>
                )}
              </TableRow>
            )),
          )}
        </TableBody>
      </Table>
    </TableContainer>
  );
}

function Rules({ run }: { run: Run }) {
  const { word } = useLanguage();
  // Asked for again whenever counting starts again, which a changed rule causes.
  const load = useCallback(() => ask<{ rules: Rule[] }>(`mesh/rules?namespace=${run.namespace}`), [run.namespace, run.epoch]);
  const { data, error } = usePolled(load, 15000);
  return (
    <Box component="section" sx={{ minWidth: 0 }}>
      <Typography component="h2" variant="h6">
        {word("judged_rules")}
      </Typography>
      <Problem error={error} />
      {!data && !error && <Loading />}
      {data && !data.rules.length && <Typography>{word("no_rules")}</Typography>}
      {data?.rules.map((rule) => (
        <Manifest key={`${rule.kind} ${rule.name}`} rule={rule} />
      ))}
    </Box>
  );
}

/** Who counts, as the console names them -> their text. */
const SOURCES: Record<string, Word> = { clients: "by_clients", "the access logs": "by_logs", "the proxies": "by_proxies" };

/** How the side that sends is doing: "not saturated (20 users, 15 requests/s)". */
function generatorIn(text: string, word: (key: Word) => string): string {
  const found = /^(not )?saturated \((\d+) users, (\d+) requests\/s\)$/.exec(text);
  return found ? `${word(found[1] ? "not_saturated" : "saturated")} (${found[2]} ${word("users")}, ${found[3]} ${word("n_requests")}/s)` : text;
}

function Sources({ run }: { run: Run }) {
  const { word } = useLanguage();
  const sources = Object.entries(run.sources);
  if (!sources.length) return null;
  const nameOf = (name: string) => {
    const known = SOURCES[name];
    return known ? word(known) : name;
  };
  const counts = (found: Record<string, number>) =>
    Object.entries(found)
      .map(([version, n]) => `${version || word("service")} ${n}`)
      .join(", ");
  return (
    <Box component="section" sx={{ my: 2 }}>
      <Typography component="h2" variant="h6">
        {word("sources")}
      </Typography>
      {sources.map(([name, found]) => (
        <Typography key={name}>
          <b>{nameOf(name)}</b>: {counts(found)}
        </Typography>
      ))}
    </Box>
  );
}

export function Verdict() {
  const { word } = useLanguage();
  const { run, lost } = useRun();
  if (!run) return <Page title={word("verdict")}>{!lost && <Loading />}</Page>;
  const never = !run.epoch && !run.beginning;
  if (never) return <Page title={word("verdict")}>{word("no_run")}</Page>;
  // A run that became void has no classes any more, but what it saw until then.
  const charted = [...new Set(run.history.at(-1)?.shares.map(([name]) => name))];
  // The answers say of each class that it holds.
  const reasons = run.reasons.filter((reason) => !run.classes.some((one) => one.outcome === "PASS" && one.reason === reason));
  const severity = ({ PASS: "success", FAIL: "error" } as const)[run.outcome as "PASS"] ?? "warning";
  const title = (
    <>
      {run.entry}: <Chip component="span" data-outcome label={run.outcome} sx={{ bgcolor: colorOf(run.outcome), color: "background.paper", fontSize: "1rem", fontWeight: 700 }} />
      {!run.finished && !run.beginning && (
        <Typography color="text.secondary" component="span" sx={{ ml: 1 }}>
          {word("in_progress")}
        </Typography>
      )}
    </>
  );
  return (
    <Page title={title}>
      {run.beginning ? (
        <Alert severity="info">{word("waiting")}</Alert>
      ) : (
        <Alert severity={severity} sx={{ overflowWrap: "anywhere" }} variant="outlined">
          <Answers run={run} />
          {[...reasons, ...run.remarks].map((reason) => (
            <div key={reason}>{reason}</div>
          ))}
        </Alert>
      )}
      <Shares run={run} />
      <Typography color="text.secondary" sx={{ mt: 2 }} variant="body2">
        {word("requests")}: {run.n} · {word("margin")}: {percent(run.margin, 0)} · {word("error_rates")}: PASS {word("at_most")} {percent(run.pass_alpha)}, FAIL{" "}
        {word("at_most")} {percent(run.fail_alpha)} · {word("generator")}: {generatorIn(run.generator, word)}
      </Typography>
      <Box sx={{ display: "grid", gap: 3, gridTemplateColumns: { xs: "minmax(0, 1fr)", lg: "minmax(0, 3fr) minmax(0, 2fr)" }, mt: 2 }}>
        <Box sx={{ minWidth: 0 }}>
          {charted.length > 0 && (
            <Typography component="h2" variant="h6">
              {word("over_time")}
            </Typography>
          )}
          {charted.map((name) => (
            <BandChart history={run.history} key={name} margin={run.margin} name={name} />
          ))}
          <Sources run={run} />
        </Box>
        <Rules run={run} />
      </Box>
    </Page>
  );
}
