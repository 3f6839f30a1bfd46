// Parts of the traffic settings' form.
import { useState, type ReactNode } from "react";
import {
  Accordion, AccordionDetails, AccordionSummary, Alert, Box, Button, Checkbox, FormControlLabel, IconButton, InputAdornment, Paper, Slider,
  TextField, Typography,
} from "@mui/material";
import ArrowDownward from "@mui/icons-material/ArrowDownward";
import ArrowUpward from "@mui/icons-material/ArrowUpward";
import Delete from "@mui/icons-material/Delete";
import ExpandMore from "@mui/icons-material/ExpandMore";
import { useLanguage, type Word } from "./language";
import { allWeights, field, namesOf, ROUTE_GROUPS, withWeights, type Route, type Value, type Values } from "./settingsForm";
import type { Field } from "./templateArgs";
import { withWeight } from "./weights";

const UNITS: Partial<Record<Field["kind"], string>> = { seconds: "s", percent: "%" };

interface InputProps {
  of: Field;
  value: Value;
  change: (value: Value) => void;
  choices?: string[];
}

export function Input({ of, value, change, choices = of.choices }: InputProps) {
  const { word } = useLanguage();
  const label = word(`f_${of.name}` as Word);
  if (of.kind === "choice" || choices.length) {
    return (
      <TextField
        label={label} onChange={(event) => change(event.target.value || null)} select size="small" slotProps={{ select: { native: true }, inputLabel: { shrink: true } }}
        sx={{ minWidth: "8rem" }} value={value ?? ""}
      >
        {["", ...choices].map((choice) => (
          <option key={choice}>{choice}</option>
        ))}
      </TextField>
    );
  }
  const text = of.kind === "text";
  const unit = UNITS[of.kind];
  const limits = text ? {} : { min: of.low, max: of.high, step: of.kind === "integer" ? 1 : "any" };
  return (
    <TextField
      label={label} size="small" sx={{ width: "13rem" }} type={text ? "text" : "number"} value={value ?? ""}
      onChange={(event) => change(event.target.value === "" ? null : text ? event.target.value : Number(event.target.value))}
      slotProps={{ htmlInput: limits, inputLabel: { shrink: true }, input: unit ? { endAdornment: <InputAdornment position="end">{unit}</InputAdornment> } : {} }}
    />
  );
}

export function Row({ children }: { children: ReactNode }) {
  return <Box sx={{ alignItems: "center", display: "flex", flexWrap: "wrap", gap: 2, py: 1.5 }}>{children}</Box>;
}

export function Help({ of }: { of: Word }) {
  const { word } = useLanguage();
  return (
    <Typography color="text.secondary" variant="body2">
      {word(of)}
    </Typography>
  );
}

interface PartProps {
  title: string;
  /** Owner of the rule, if it may not be changed. */
  locked?: string;
  children: ReactNode;
}

/** A part of the form with a rule of its own. */
export function Part({ title, locked, children }: PartProps) {
  const { word } = useLanguage();
  return (
    <Paper component="section" sx={{ mb: 2, p: 2 }} variant="outlined">
      <Typography component="h2" variant="h6">
        {title}
      </Typography>
      {locked && (
        <Alert severity="warning">
          {word("owned_by")} {locked}
        </Alert>
      )}
      <Box component="fieldset" disabled={Boolean(locked)} sx={{ border: 0, m: 0, minWidth: 0, p: 0 }}>
        {children}
      </Box>
    </Paper>
  );
}

interface WeightsProps {
  weights: Record<string, number>;
  change: (weights: Record<string, number>) => void;
}

/** A slider and a number for each version; changing one changes the others, so that they always sum to 100. */
function WeightSliders({ weights, change }: WeightsProps) {
  const { word } = useLanguage();
  return Object.entries(weights).map(([name, weight]) => {
    const label = name || word("whole_service");
    const set = (value: number) => change(withWeight(weights, name, value));
    return (
      <Box key={name} sx={{ alignItems: "center", display: "flex", gap: 2, maxWidth: "40rem", pt: 1.5 }}>
        <NumberBox label={label} set={set} value={weight} />
        <Slider aria-label={`${word("weight_of")} ${label}`} max={100} min={0} onChange={(_, value) => set(value as number)} size="small" value={weight} />
      </Box>
    );
  });
}

/** A weight as a number. While it is edited it may be empty, which changes no weight. */
function NumberBox({ label, value, set }: { label: string; value: number; set: (value: number) => void }) {
  const [empty, setEmpty] = useState(false);
  return (
    <TextField
      label={label} onBlur={() => setEmpty(false)} size="small" sx={{ flexShrink: 0, width: "8rem" }} type="number" value={empty ? "" : value}
      onChange={(event) => {
        setEmpty(event.target.value === "");
        if (event.target.value !== "") set(Number(event.target.value));
      }}
      slotProps={{ htmlInput: { min: 0, max: 100, step: 1 }, input: { endAdornment: <InputAdornment position="end">%</InputAdornment> } }}
    />
  );
}

interface RouteProps {
  number: number;
  route: Route;
  original: Route | undefined;
  weights: string[];
  change: (route: Route) => void;
  move: (by: number) => void;
  remove: () => void;
}

export function RouteCard({ number, route, original, weights, change, move, remove }: RouteProps) {
  const { word } = useLanguage();
  const used = (names: readonly string[]) => names.some((name) => original?.[name] !== null && original?.[name] !== undefined);
  return (
    <Paper aria-label={`${word("route")} ${number}`} component="section" data-route={number} sx={{ my: 1, p: 2 }} variant="outlined">
      <Box sx={{ alignItems: "center", display: "flex" }}>
        <Typography component="h3" sx={{ flex: 1 }} variant="subtitle1">
          {word("route")} {number}
        </Typography>
        <IconButton aria-label={`${word("earlier")} ${number}`} onClick={() => move(-1)} size="small">
          <ArrowUpward />
        </IconButton>
        <IconButton aria-label={`${word("later")} ${number}`} onClick={() => move(1)} size="small">
          <ArrowDownward />
        </IconButton>
        <IconButton aria-label={`${word("remove")} ${number}`} onClick={remove} size="small">
          <Delete />
        </IconButton>
      </Box>
      {route.weights === null ? (
        <Alert severity="info">{word("leads_elsewhere")}</Alert>
      ) : (
        <>
          <Help of="help_weights" />
          <Box sx={{ mb: 2 }}>
            <WeightSliders change={(found) => change(withWeights(route, original, found))} weights={allWeights(route, namesOf(route, weights))} />
          </Box>
        </>
      )}
      {ROUTE_GROUPS.map(([name, fields]) =>
        name === "condition" && route.kept ? (
          <Alert key={name} severity="info">
            {word("kept")}
          </Alert>
        ) : (
          <Accordion defaultExpanded={used(fields)} disableGutters elevation={0} key={name} slotProps={{ heading: { component: "h4" } }}>
            <AccordionSummary expandIcon={<ExpandMore />}>{word(name)}</AccordionSummary>
            <AccordionDetails>
              <Help of={`help_${name}` as Word} />
              <Row>
                {fields.map((one) => (
                  <Input
                    change={(value) => change({ ...route, [one]: value })} choices={one === "mirror" ? weights : undefined} key={one} of={field("routes", one)}
                    value={(route[one] as Value | undefined) ?? null}
                  />
                ))}
              </Row>
            </AccordionDetails>
          </Accordion>
        ),
      )}
    </Paper>
  );
}

/** Who may call: anybody, or the chosen accounts. */
export function Callers({ callers, accounts, change }: { callers: string[] | null; accounts: string[]; change: (callers: string[] | null) => void }) {
  const { word } = useLanguage();
  const names = [...new Set([...accounts, ...(callers ?? [])])];
  const short = (principal: string) => principal.replace("cluster.local/ns/", "").replace("/sa/", " / ");
  const toggle = (name: string) => change(callers!.includes(name) ? callers!.filter((one) => one !== name) : [...callers!, name]);
  const box = (name: string) => <Checkbox checked={callers?.includes(name) ?? false} disabled={callers === null} onChange={() => toggle(name)} />;
  return (
    <>
      <FormControlLabel control={<Checkbox checked={callers === null} onChange={() => change(callers === null ? [] : null)} />} label={word("anybody")} />
      {names.map((name) => (
        <FormControlLabel control={box(name)} key={name} label={short(name)} sx={{ overflowWrap: "anywhere" }} />
      ))}
    </>
  );
}

/** Hosts outside the mesh, one row each. */
export function Hosts({ hosts, change }: { hosts: Values[]; change: (hosts: Values[]) => void }) {
  const { word } = useLanguage();
  const set = (index: number, name: string, value: Value) => change(hosts.map((host, at) => (at === index ? { ...host, [name]: value } : host)));
  return (
    <>
      {hosts.map((host, index) => (
        <Box data-host key={index}>
          <Row>
            {["host", "port", "protocol"].map((name) => (
              <Input change={(value) => set(index, name, value)} key={name} of={field("egress", name)} value={host[name] ?? null} />
            ))}
            <Button onClick={() => change(hosts.filter((_, at) => at !== index))}>{word("remove")}</Button>
          </Row>
        </Box>
      ))}
      <Button onClick={() => change([...hosts, { host: "", port: null, protocol: "HTTP" }])} sx={{ mt: 1 }} variant="outlined">
        {word("add_host")}
      </Button>
    </>
  );
}
