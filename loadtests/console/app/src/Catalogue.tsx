// Every entry with its aim and last verdict, by group; one click applies its rules and starts it, or several one after another.
import { useCallback, useState } from "react";
import {
  Accordion, AccordionDetails, AccordionSummary, Alert, Box, Button, Checkbox, LinearProgress, Paper, Table, TableBody, TableCell, TableContainer,
  TableRow, TextField, Typography, useMediaQuery, useTheme,
} from "@mui/material";
import ExpandMore from "@mui/icons-material/ExpandMore";
import { ask, usePolled } from "./api";
import { useLanguage } from "./language";
import { colorOf, Heads, Loading, Page, Problem, Prose } from "./parts";
import { begin, openTab, stop, type Outcome } from "./run";

interface Entry {
  name: string;
  namespace: string;
  aim: string;
  expect: string;
  breaks: string;
  /** None without a run. */
  outcome: Outcome | null;
  n: number;
  reasons: string[];
  /** ISO 8601, UTC. */
  started: string;
  seconds: number;
}

interface Group {
  title: string;
  entries: Entry[];
}

/** Entries that are judged one after another. */
interface Series {
  active: boolean;
  current: string;
  waiting: string[];
  /** Without an outcome if there was no run. */
  done: { entry: string; outcome: Outcome | null; reason: string }[];
  stopped: boolean;
}

/** How far a series has come, or what came of it. */
function Progress({ series }: { series: Series }) {
  const { word } = useLanguage();
  const { active, current, done, stopped } = series;
  if (!active && !done.length) return null;
  const all = done.length + series.waiting.length + (current ? 1 : 0);
  const passed = done.filter(({ outcome }) => outcome === "PASS").length;
  const summary = `${word("series")}: ${done.length} / ${all}, ${passed} PASS`;
  return (
    <Alert
      action={
        active && (
          <>
            <Button color="inherit" onClick={() => openTab("verdict")} size="small">
              {word("watch")}
            </Button>
            <Button color="inherit" disabled={stopped} onClick={() => void stop()} size="small">
              {word("stop")}
            </Button>
          </>
        )
      }
      data-series={active ? "active" : "ended"} severity={active ? "info" : passed === all ? "success" : "warning"} sx={{ my: 1, "& .MuiAlert-message": { flexGrow: 1 } }}
    >
      {summary}
      {active && current && `; ${current} …`}
      {active && <LinearProgress aria-label={summary} sx={{ my: 1 }} value={(100 * done.length) / all} variant="determinate" />}
      {done
        .filter(({ outcome }) => outcome !== "PASS")
        .map(({ entry, outcome, reason }) => (
          <Box key={entry} sx={{ overflowWrap: "anywhere" }}>
            {entry}: {outcome ?? word("never")}: {reason}
          </Box>
        ))}
    </Alert>
  );
}

function LastVerdict({ entry }: { entry: Entry }) {
  const { word, code } = useLanguage();
  const color = colorOf(entry.outcome);
  if (!entry.outcome) return <Typography color={color}>{word("never")}</Typography>;
  return (
    <>
      <Typography color={color} component="strong" sx={{ fontWeight: 600 }} title={entry.reasons.join("; ")}>
        {entry.outcome}
      </Typography>
      <Typography color="text.secondary" variant="body2">
        <time dateTime={entry.started}>{new Date(entry.started).toLocaleString(code)}</time>, {entry.seconds.toFixed(0)} s, n={entry.n}
      </Typography>
    </>
  );
}

interface RowProps {
  entry: Entry;
  busy: boolean;
  chosen: boolean;
  choose: () => void;
  start: () => void;
}

function Choice({ entry, chosen, choose }: RowProps) {
  const { word } = useLanguage();
  return <Checkbox checked={chosen} onChange={choose} size="small" slotProps={{ input: { "aria-label": `${word("choose")} ${entry.name}` } }} />;
}

function Name({ entry }: RowProps) {
  return (
    <>
      {entry.name}
      <Typography color="text.secondary" component="div" variant="body2">
        {entry.namespace}
      </Typography>
    </>
  );
}

function Aim({ entry }: RowProps) {
  const { word } = useLanguage();
  return (
    <details>
      <summary>
        <Prose text={entry.aim} />
      </summary>
      <p>
        <b>{word("expect")}</b> <Prose text={entry.expect} />
      </p>
      <p>
        <b>{word("break")}</b> <Prose text={entry.breaks} />
      </p>
    </details>
  );
}

function StartButton({ entry, busy, start }: RowProps) {
  const { word } = useLanguage();
  return (
    <Button aria-label={`${word("start")} ${entry.name}`} disabled={busy} onClick={start} size="small" variant="outlined">
      {word("start")}
    </Button>
  );
}

function EntryRow(props: RowProps) {
  const { entry } = props;
  return (
    <TableRow data-name={entry.name} sx={{ "& > *": { verticalAlign: "top" } }}>
      <TableCell padding="checkbox">
        <Choice {...props} />
      </TableCell>
      <TableCell component="th" scope="row" sx={{ fontWeight: 600, overflowWrap: "anywhere" }}>
        <Name {...props} />
      </TableCell>
      <TableCell>
        <Aim {...props} />
      </TableCell>
      <TableCell data-last>
        <LastVerdict entry={entry} />
      </TableCell>
      <TableCell>
        <StartButton {...props} />
      </TableCell>
    </TableRow>
  );
}

/** An entry where a row would be too narrow. */
function EntryCard(props: RowProps) {
  const { entry } = props;
  return (
    <Paper component="li" data-name={entry.name} sx={{ mb: 1, p: 1 }} variant="outlined">
      <Box sx={{ alignItems: "flex-start", display: "flex", gap: 0.5 }}>
        <Choice {...props} />
        <Box sx={{ flexGrow: 1, fontWeight: 600, minWidth: 0, overflowWrap: "anywhere", pt: 0.75 }}>
          <Name {...props} />
        </Box>
        <StartButton {...props} />
      </Box>
      <Box sx={{ my: 1 }}>
        <Aim {...props} />
      </Box>
      <Box data-last>
        <LastVerdict entry={entry} />
      </Box>
    </Paper>
  );
}

function Entries({ title, rows }: { title: string; rows: RowProps[] }) {
  const { word } = useLanguage();
  const { breakpoints } = useTheme();
  const narrow = useMediaQuery(breakpoints.down("md"));
  if (narrow) {
    return (
      <Box component="ul" sx={{ listStyle: "none", m: 0, p: 0 }}>
        {rows.map((row) => (
          <EntryCard {...row} key={row.entry.name} />
        ))}
      </Box>
    );
  }
  return (
    <TableContainer aria-label={title} role="region" tabIndex={0}>
      <Table size="small">
        <Heads names={["", word("entry"), word("aim"), word("last"), ""]} widths={[undefined, "11rem", "16rem", "16rem", "6rem"]} />
        <TableBody>
          {rows.map((row) => (
            <EntryRow {...row} key={row.entry.name} />
          ))}
        </TableBody>
      </Table>
    </TableContainer>
  );
}

export function Catalogue() {
  const { word, code } = useLanguage();
  const { data, error } = usePolled(useCallback(() => ask<{ groups: Group[] }>(`mesh/catalogue?lang=${code}`), [code]), 5000);
  const [filter, setFilter] = useState("");
  const [starting, setStarting] = useState("");
  const [refused, setRefused] = useState<Error>();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const { data: series, again } = usePolled(useCallback(() => ask<Series>("mesh/series"), []), 2000);
  const busy = starting !== "" || Boolean(series?.active);
  const choose = (name: string) => setChosen(new Set(chosen.has(name) ? [...chosen].filter((one) => one !== name) : [...chosen, name]));

  const startAll = async (names: string[]) => {
    setRefused(undefined);
    try {
      await ask("mesh/series", { entries: names });
      setChosen(new Set());
      await again();
    } catch (caught) {
      setRefused(caught as Error);
    }
  };

  const start = async (name: string) => {
    setStarting(name);
    setRefused(undefined);
    try {
      await ask("mesh/entry", { entry: name });
      await begin(name);
    } catch (caught) {
      setRefused(new Error(`${name}: ${(caught as Error).message}`));
    }
    setStarting("");
  };

  const wanted = filter.trim().toLowerCase();
  const fits = (entry: Entry) => [entry.name, entry.namespace, entry.aim, entry.outcome ?? ""].join(" ").toLowerCase().includes(wanted);
  const groups = (data?.groups ?? []).map(({ title, entries }) => ({ title, entries: entries.filter(fits), all: entries }));
  const shown = groups.filter(({ entries }) => entries.length);
  const names = shown.flatMap(({ entries }) => entries.map(({ name }) => name));
  const picked = names.filter((name) => chosen.has(name));
  return (
    <Page lead={word("lead")} title={word("catalogue")}>
      <Box role="status">{starting && <Alert severity="info">{`${starting}: ${word("working")}`}</Alert>}</Box>
      <Problem error={refused ?? error} />
      {series && <Progress series={series} />}
      <Box sx={{ alignItems: "center", display: "flex", flexWrap: "wrap", gap: 2, my: 1 }}>
        <TextField autoComplete="off" label={word("filter")} onChange={(event) => setFilter(event.target.value)} size="small" type="search" value={filter} />
        <Button disabled={busy || !picked.length} onClick={() => void startAll(picked)} variant="outlined">
          {word("run_chosen")} ({picked.length})
        </Button>
        <Button disabled={busy || !names.length} onClick={() => void startAll(names)} variant="outlined">
          {word("run_all")} ({names.length})
        </Button>
      </Box>
      {!data && !error && <Loading />}
      {data && !shown.length && <Typography>{word("no_match")}</Typography>}
      {shown.map(({ title, entries, all }) => (
        <Accordion defaultExpanded disableGutters key={title} slotProps={{ heading: { component: "h2" } }}>
          <AccordionSummary expandIcon={<ExpandMore />}>
            <Typography component="span" variant="h6">
              {title}
            </Typography>
            <Typography color="text.secondary" component="span" sx={{ alignSelf: "center", ml: 2 }}>
              {all.filter(({ outcome }) => outcome === "PASS").length} / {all.length} PASS
            </Typography>
          </AccordionSummary>
          <AccordionDetails sx={{ px: { xs: 1, sm: 2 } }}>
            <Entries
              rows={entries.map((entry) => ({
                entry, busy, chosen: chosen.has(entry.name), choose: () => choose(entry.name), start: () => void start(entry.name),
              }))}
              title={title}
            />
          </AccordionDetails>
        </Accordion>
      ))}
    </Page>
  );
}
