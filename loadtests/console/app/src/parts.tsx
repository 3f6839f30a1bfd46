// Parts that several pages use.
import { Component, type ReactNode } from "react";
import { Alert, Box, Button, CircularProgress, Link, Paper, TableCell, TableHead, TableRow, Typography } from "@mui/material";
import { useLanguage, type Word } from "./language";
import { LostError } from "./api";
import { useRun, type Outcome } from "./run";
import type { Rule } from "./settingsForm";
import { lab } from "./templateArgs";

export const percent = (share: number, digits = 1) => `${(share * 100).toFixed(digits)} %`;

/** Shares in one line: "v1 80 %, v3 20 %". */
export const sharesInWords = (shares: [string, number][]) => shares.map(([name, share]) => `${name} ${percent(share).replace(".0 ", " ")}`).join(", ");

/** For cells with figures. */
export const figures = { whiteSpace: "nowrap" } as const;

/** The color of an outcome, by its name in the theme. */
export function colorOf(outcome: string | null): string {
  if (outcome === null) return "text.secondary";
  return { PASS: "success.main", FAIL: "error.main" }[outcome] ?? "warning.main";
}

/** What is expected, and whether it holds: the answer to what a page is about, before everything else. */
export function Answer({ subject, expected, outcome, children }: { subject: string; expected: [string, number][]; outcome: Outcome | null; children?: ReactNode }) {
  const { word } = useLanguage();
  return (
    <Box data-answer={subject} sx={{ color: "text.primary" }}>
      <Typography component="p" sx={{ fontSize: "1.2rem", fontWeight: 600, overflowWrap: "anywhere" }}>
        {subject}: {sharesInWords(expected)} —{" "}
        <Box component="span" sx={{ color: colorOf(outcome) }}>
          {word(outcome ? `is_${outcome}` : "not_judged")}
        </Box>
      </Typography>
      {children}
    </Box>
  );
}

/** Text with the parts in backquotes as code. */
export function Prose({ text }: { text: string }) {
  return text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part));
}

/** A rule's YAML under its name. */
export function Manifest({ rule }: { rule: Rule }) {
  return (
    <Paper sx={{ mb: 1, p: 1 }} variant="outlined">
      <Typography variant="subtitle2">
        {rule.kind} {rule.name} ({rule.owner})
      </Typography>
      <Box
        aria-label={`${rule.kind} ${rule.name}`} component="pre" role="region" sx={{ fontSize: 13, m: 0, maxHeight: "28rem", overflow: "auto" }} tabIndex={0}
      >
        {rule.manifest}
      </Box>
    </Paper>
  );
}

/** A table's head; widths are the least that a column takes. */
export function Heads({ names, widths = [] }: { names: string[]; widths?: (string | undefined)[] }) {
  return (
    <TableHead>
      <TableRow>
        {names.map((name, index) => (
          <TableCell key={index} sx={{ minWidth: widths[index], whiteSpace: "nowrap" }}>
            {name}
          </TableCell>
        ))}
      </TableRow>
    </TableHead>
  );
}

/** A tab's content below its heading. */
export function Page({ title, lead, children }: { title: ReactNode; lead?: ReactNode; children: ReactNode }) {
  return (
    <Box sx={{ pb: 4 }}>
      <Typography component="h1" gutterBottom variant="h5">
        {title}
      </Typography>
      {lead && (
        <Typography component="p" sx={{ mb: 2, maxWidth: "60rem" }}>
          {lead}
        </Typography>
      )}
      {children}
    </Box>
  );
}

/** The reason why something failed, unless the banner above all pages names it. */
export function Problem({ error }: { error: Error | undefined }) {
  if (!error || error instanceof LostError) return null;
  return (
    <Alert severity="error" sx={{ mb: 2, overflowWrap: "anywhere" }}>
      {error.message}
    </Alert>
  );
}

export function Loading() {
  const { word } = useLanguage();
  return <CircularProgress aria-label={word("loading")} sx={{ m: 2 }} />;
}

/** Above all pages: the console cannot be asked at the moment, and what to do about it. */
export function LostBanner() {
  const { lost } = useRun();
  const { word } = useLanguage();
  if (!lost) return null;
  const login = lost.cause === "expired" && lab.login;
  return (
    <Alert severity="error" sx={{ borderRadius: 0 }}>
      {word(lost.cause)}
      {login && (
        <Link href="login" sx={{ ml: 1 }}>
          {word("log_in")}
        </Link>
      )}
    </Alert>
  );
}

/** Shows a message instead of a page that fails. */
export class Guard extends Component<{ children: ReactNode; word: (key: Word) => string }, { error?: Error }> {
  state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  render() {
    const { word } = this.props;
    if (!this.state.error) return this.props.children;
    return (
      <Alert
        action={
          <Button color="inherit" onClick={() => window.location.reload()}>
            {word("reload")}
          </Button>
        }
        severity="error"
      >
        {word("crashed")} {this.state.error.message}
      </Alert>
    );
  }
}
