// Every entry with its aim and last verdict, by group; one click applies its rules and starts it.
import { useCallback, useState } from "react";
import {
  Accordion, AccordionDetails, AccordionSummary, Alert, Box, Button, Table, TableBody, TableCell, TableContainer, TableHead, TableRow, TextField,
  Typography,
} from "@mui/material";
import ExpandMore from "@mui/icons-material/ExpandMore";
import { ask, usePolled } from "./api";
import { useLanguage } from "./language";
import { colorOf, Loading, Page, Problem, Prose } from "./parts";
import { begin, type Outcome } from "./run";

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

function EntryRow({ entry, busy, start }: { entry: Entry; busy: boolean; start: () => void }) {
  const { word } = useLanguage();
  return (
    <TableRow data-name={entry.name}>
      <TableCell component="th" scope="row" sx={{ fontWeight: 600, overflowWrap: "anywhere", verticalAlign: "top" }}>
        {entry.name}
        <Typography color="text.secondary" component="div" variant="body2">
          {entry.namespace}
        </Typography>
      </TableCell>
      <TableCell sx={{ verticalAlign: "top" }}>
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
      </TableCell>
      <TableCell data-last sx={{ verticalAlign: "top" }}>
        <LastVerdict entry={entry} />
      </TableCell>
      <TableCell sx={{ verticalAlign: "top" }}>
        <Button aria-label={`${word("start")} ${entry.name}`} disabled={busy} onClick={start} size="small" variant="outlined">
          {word("start")}
        </Button>
      </TableCell>
    </TableRow>
  );
}

export function Catalogue() {
  const { word, code } = useLanguage();
  const { data, error } = usePolled(useCallback(() => ask<{ groups: Group[] }>(`mesh/catalogue?lang=${code}`), [code]), 5000);
  const [filter, setFilter] = useState("");
  const [starting, setStarting] = useState("");
  const [refused, setRefused] = useState<Error>();

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
  return (
    <Page lead={word("lead")} title={word("catalogue")}>
      <Box role="status">{starting && <Alert severity="info">{`${starting}: ${word("working")}`}</Alert>}</Box>
      <Problem error={refused ?? error} />
      <TextField
        autoComplete="off" label={word("filter")} onChange={(event) => setFilter(event.target.value)} size="small" sx={{ my: 1 }} type="search" value={filter}
      />
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
          <AccordionDetails>
            <TableContainer aria-label={title} role="region" tabIndex={0}>
              <Table size="small">
                <TableHead>
                  <TableRow>
                    <TableCell>{word("entry")}</TableCell>
                    <TableCell sx={{ minWidth: "16rem" }}>{word("aim")}</TableCell>
                    <TableCell sx={{ minWidth: "9rem" }}>{word("last")}</TableCell>
                    <TableCell />
                  </TableRow>
                </TableHead>
                <TableBody>
                  {entries.map((entry) => (
                    <EntryRow busy={starting !== ""} entry={entry} key={entry.name} start={() => void start(entry.name)} />
                  ))}
                </TableBody>
              </Table>
            </TableContainer>
          </AccordionDetails>
        </Accordion>
      ))}
    </Page>
  );
}
