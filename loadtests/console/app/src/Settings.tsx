// The traffic settings of one service: its rules as a form, beside the YAML that the form makes of them; checked, applied, and undone.
import { useCallback, useEffect, useRef, useState } from "react";
import {
  Alert, Box, Button, Checkbox, FormControlLabel, LinearProgress, Link, Paper, TextField, Typography,
} from "@mui/material";
import { locustStore, pushQuery, SWARM_STATE } from "locust-ui";
import { ask, pause, usePolled } from "./api";
import { Difference } from "./Difference";
import { Callers, Help, Hosts, Input, Part, RouteCard, Row } from "./fields";
import { History } from "./History";
import { useLanguage, type Word } from "./language";
import { Loading, Page, Problem } from "./parts";
import { begin, openTab } from "./run";
import { field, GROUPS, newRoute, type Compared, type Form, type Past, type Rule, type State } from "./settingsForm";
import { NamespaceField, namespaceOfPage } from "./Topology";

interface Plan {
  objects: Compared[];
  digest: string;
  warnings: string[];
}

/** How far the proxies have come with a change. */
interface Progress {
  number: number;
  total: number;
  done: number;
  seconds: number;
}

/** On a wide page, what the form writes stays in view beside it. */
const BESIDE = { alignSelf: "start", maxHeight: { lg: "100vh" }, minWidth: 0, overflowY: "auto", position: { lg: "sticky" }, top: 0 };

const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);

/** All parts of the form. */
function FormParts({ state, form, change }: { state: State; form: Form; change: (form: Form) => void }) {
  const { word } = useLanguage();
  const { locks, weights } = state;
  const routes = (found: Form["routes"]) => change({ ...form, routes: found });
  const move = (index: number, by: number) => {
    const moved = [...form.routes];
    const [taken] = moved.splice(index, 1);
    moved.splice(index + by, 0, taken!);
    if (index + by >= 0 && index + by < form.routes.length) routes(moved);
  };
  return (
    <>
      <Part locked={locks.routes} title={word("routes")}>
        {!form.routes.length && <Alert severity="info">{word("no_routes")}</Alert>}
        {form.routes.map((route, index) => (
          <RouteCard
            change={(found) => routes(form.routes.map((one, at) => (at === index ? found : one)))} key={`${route.from}-${index}`} move={(by) => move(index, by)}
            number={index + 1} original={state.values.routes.find(({ from }) => from === route.from && from !== null)}
            remove={() => routes(form.routes.filter((_, at) => at !== index))} route={route} weights={weights}
          />
        ))}
        <Button onClick={() => routes([...form.routes, newRoute(weights)])} variant="outlined">
          {word("add_route")}
        </Button>
      </Part>
      {GROUPS.map(([name, part, fields]) => (
        <Part key={name} locked={locks[part]} title={word(name)}>
          <Help of={`help_${name}` as Word} />
          <Row>
            {fields.map((one) => (
              <Input
                change={(value) => change({ ...form, [part]: { ...form[part], [one]: value } })} key={one} of={field(part, one)} value={form[part][one] ?? null}
              />
            ))}
          </Row>
        </Part>
      ))}
      <Part locked={locks.callers} title={word("callers")}>
        <Help of="help_callers" />
        <Callers accounts={state.accounts} callers={form.callers} change={(callers) => change({ ...form, callers })} />
      </Part>
      <Part title={word("egress")}>
        <Help of="help_egress" />
        <Hosts change={(egress) => change({ ...form, egress })} hosts={form.egress} />
      </Part>
    </>
  );
}

/** What the form, or the edited YAML, would write: nothing has checked it yet. */
function Draft({ place, values, touched, rules }: { place: { namespace: string; service: string }; values: Form | string; touched: boolean; rules: Rule[] }) {
  const { word } = useLanguage();
  const [objects, setObjects] = useState<Compared[]>([]);
  const [error, setError] = useState<Error>();
  useEffect(() => {
    if (!touched) {
      setObjects([]);
      setError(undefined);
      return;
    }
    let outdated = false;
    const timer = window.setTimeout(async () => {
      try {
        const found = await ask<{ objects: Compared[] }>("mesh/settings/draft", { ...place, values });
        if (outdated) return;
        setObjects(found.objects);
        setError(undefined);
      } catch (caught) {
        if (!outdated) setError(caught as Error);
      }
    }, 300);
    return () => {
      outdated = true;
      window.clearTimeout(timer);
    };
  }, [place.namespace, place.service, values, touched]);
  return (
    <Box component="section">
      <Typography component="h2" variant="h6">
        {word("yaml")}
      </Typography>
      <Problem error={error} />
      {objects.length ? (
        <Difference objects={objects} />
      ) : (
        <>
          <Typography color="text.secondary">{word("unchanged")}</Typography>
          {rules.map(({ kind, name, manifest }) => (
            <Box aria-label={`${kind} ${name}`} component="pre" key={`${kind} ${name}`} role="region" sx={{ fontSize: 13, overflowX: "auto" }} tabIndex={0}>
              {manifest}
            </Box>
          ))}
        </>
      )}
    </Box>
  );
}

function Rules({ rules, namespace }: { rules: Rule[]; namespace: string }) {
  const { word } = useLanguage();
  return (
    <Box component="section" sx={{ mt: 3 }}>
      <Typography component="h2" variant="h6">
        {word("rules")}
      </Typography>
      <Typography component="p" sx={{ mb: 1 }}>
        {word("rules_lead")}{" "}
        <Link download href={`mesh/settings/export?namespace=${namespace}`}>
          {word("export")}
        </Link>
      </Typography>
      {rules.map(({ kind, name, owner, manifest }) => (
        <details data-rule={`${kind} ${name}`} key={`${kind} ${name}`}>
          <summary>
            {kind} {name} ({owner})
          </summary>
          <Box component="pre" sx={{ fontSize: 13, overflowX: "auto" }} tabIndex={0}>
            {manifest}
          </Box>
        </details>
      ))}
    </Box>
  );
}

/** The checked difference, with the button that applies it. */
function Checked({ plan, entry, busy, apply }: { plan: Plan; entry: string | null; busy: boolean; apply: (judge: boolean) => void }) {
  const { word } = useLanguage();
  const [judge, setJudge] = useState(true);
  return (
    <Paper aria-label={word("difference")} component="section" sx={{ mb: 2, p: 2 }} variant="outlined">
      <Typography component="h2" variant="h6">
        {word("difference")}
      </Typography>
      {plan.warnings.map((warning) => (
        <Alert key={warning} severity="warning" sx={{ mb: 1 }}>
          {warning}
        </Alert>
      ))}
      <Difference objects={plan.objects} />
      <Row>
        <Button disabled={busy} onClick={() => apply(judge && entry !== null)} variant="contained">
          {word("apply")}
        </Button>
        {entry && <FormControlLabel control={<Checkbox checked={judge} onChange={() => setJudge(!judge)} />} label={`${word("judge_again")} ${entry}`} />}
      </Row>
    </Paper>
  );
}

export function Settings() {
  const { word } = useLanguage();
  const [namespace, setNamespace] = useState(namespaceOfPage);
  const [service, setService] = useState(() => new URLSearchParams(window.location.search).get("service") ?? "reviews");
  const query = new URLSearchParams({ namespace, service }).toString();
  const { data: state, error, again } = usePolled(useCallback(() => ask<State>(`mesh/settings/state?${query}`), [query]), 3000);
  const [form, setForm] = useState<Form>();
  const [base, setBase] = useState<Form>();
  const [plan, setPlan] = useState<{ plan: Plan; values: Form | string }>();
  const [message, setMessage] = useState("");
  const [failed, setFailed] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const [progress, setProgress] = useState<Progress>();
  const beside = useRef<HTMLDivElement>(null);
  /** Edited rules, while they are edited as YAML instead of in the form. */
  const [text, setText] = useState<string>();
  const touched = text !== undefined || !same(form, base);

  // Rules that change elsewhere change the form, unless somebody is editing it.
  useEffect(() => {
    if (!state || same(state.values, base) || (touched && form)) return;
    setForm(state.values);
    setBase(state.values);
    setPlan(undefined);
  }, [state, base, touched, form]);
  const reset = () => {
    setText(undefined);
    setForm(state?.values);
    setBase(state?.values);
    setPlan(undefined);
  };
  const choose = (change: () => void) => {
    change();
    setText(undefined);
    setForm(undefined);
    setBase(undefined);
    setPlan(undefined);
    setMessage("");
    setFailed(undefined);
  };
  const edit = (found: Form) => {
    setForm(found);
    setPlan(undefined);
    setMessage("");
  };
  const editText = (found: string) => {
    setText(found);
    setPlan(undefined);
    setMessage("");
  };
  useEffect(() => {
    if (plan) void beside.current?.scrollIntoView({ block: "nearest" });
  }, [plan]);

  const during = async (act: () => Promise<void>) => {
    setBusy(true);
    setFailed(undefined);
    try {
      await act();
    } catch (caught) {
      setMessage("");
      setFailed(caught as Error);
    }
    setProgress(undefined);
    setBusy(false);
  };
  const place = { namespace, service: state?.service ?? service };

  const look = () =>
    during(async () => {
      setPlan(undefined);
      setMessage(word("trying"));
      const values = text ?? form!;
      const found = await ask<Plan>("mesh/settings/plan", { ...place, values });
      setMessage(found.objects.length ? "" : word("no_difference"));
      if (found.objects.length) setPlan({ plan: found, values });
    });

  /** Shows how many proxies have the change, until all do. */
  const propagated = async (number: number) => {
    const started = Date.now();
    for (let tries = 0; tries < 60; tries += 1) {
      const { total, stale } = await ask<{ total: number; stale: string[] }>("mesh/settings/propagation", place);
      const seconds = Math.round((Date.now() - started) / 1000);
      setProgress({ number, total, done: total - stale.length, seconds });
      setMessage(`${word("change")} ${number}: ${total - stale.length} / ${total} ${word("in_sync")} (${seconds} s)`);
      if (!stale.length) return;
      await pause(500);
    }
    throw new Error(`${word("change")} ${number}: ${word("not_in_sync")}`);
  };
  const changed = async (number: number) => {
    setPlan(undefined);
    setText(undefined);
    setForm(undefined);
    setBase(undefined);
    await again();
    await propagated(number);
  };
  const apply = (judge: boolean) =>
    during(async () => {
      const entry = state!.entry;
      const { number } = await ask<{ number: number }>("mesh/settings/apply", { ...place, values: plan!.values, digest: plan!.plan.digest });
      await changed(number);
      const running = ([SWARM_STATE.RUNNING, SWARM_STATE.SPAWNING] as string[]).includes(locustStore.getState().swarm.state);
      // An active run starts its verdict again by itself.
      if (judge && entry && !running) await begin(entry);
      else if (judge && running) openTab("verdict");
    });
  const undo = (past: Past) =>
    during(async () => {
      const { number } = await ask<{ number: number }>("mesh/settings/undo", { ...place, number: past.number });
      await changed(number);
    });

  const behind = (state?.rules ?? []).filter(({ kind, name }) => state!.behind.includes(`${kind} ${name}`));
  const elsewhere = state && touched && form && !same(state.values, base);
  return (
    <Page lead={word("settings_lead")} title={word("settings")}>
      <Row>
        <NamespaceField change={(found) => choose(() => setNamespace(found))} value={namespace} />
        {state && (
          <TextField
            label={word("service")} select size="small" slotProps={{ select: { native: true } }} sx={{ minWidth: "10rem" }} value={state.service}
            onChange={(event) => {
              pushQuery({ service: event.target.value });
              choose(() => setService(event.target.value));
            }}
          >
            {state.services.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </TextField>
        )}
      </Row>
      <Problem error={failed ?? error} />
      <Box aria-live="polite" role="status">
        {message && <Alert severity="info">{message}</Alert>}
        {elsewhere && <Alert severity="warning">{word("changed_meanwhile")}</Alert>}
        {progress && <LinearProgress aria-label={word("in_sync")} value={progress.total ? (100 * progress.done) / progress.total : 100} variant="determinate" />}
      </Box>
      {!state && !error && <Loading />}
      {state && state.unknown.length > 0 && (
        <Alert data-unknown severity="info" sx={{ my: 1, overflowWrap: "anywhere" }}>
          {word("unknown_fields")}
          {state.unknown.map((path) => (
            <div key={path}>
              <code>{path}</code>
            </div>
          ))}
        </Alert>
      )}
      {state && form && (
        <Box sx={{ display: "grid", gap: 3, gridTemplateColumns: { xs: "minmax(0, 1fr)", lg: "minmax(0, 1fr) minmax(0, 1fr)" }, mt: 1 }}>
          <Box component="form" onSubmit={(event) => event.preventDefault()} sx={{ minWidth: 0 }}>
            {text === undefined ? (
              <FormParts change={edit} form={form} state={state} />
            ) : (
              <>
                <Typography color="text.secondary" sx={{ mb: 1 }}>
                  {word("help_yaml")}
                </Typography>
                <TextField
                  fullWidth label={word("yaml")} minRows={12} multiline onChange={(event) => editText(event.target.value)} value={text}
                  slotProps={{ htmlInput: { spellCheck: false, style: { fontFamily: "monospace", fontSize: 13, overflowX: "auto", whiteSpace: "pre" } } }}
                />
              </>
            )}
          </Box>
          <Box ref={beside} sx={BESIDE}>
            <Row>
              <Button disabled={busy} onClick={() => void look()} variant={plan ? "outlined" : "contained"}>
                {word("show_difference")}
              </Button>
              <Button disabled={busy} onClick={reset}>
                {word("reset")}
              </Button>
              {text === undefined && (
                <Button disabled={busy} onClick={() => editText(behind.filter(({ ours }) => ours).map(({ manifest }) => manifest).join("---\n"))}>
                  {word("edit_yaml")}
                </Button>
              )}
            </Row>
            {plan ? (
              <Checked apply={(judge) => void apply(judge)} busy={busy} entry={state.entry} plan={plan.plan} />
            ) : (
              <Draft place={place} rules={behind} touched={touched} values={text ?? form} />
            )}
          </Box>
        </Box>
      )}
      {state && <History busy={busy} history={state.history} undo={(past) => void undo(past)} />}
      {state && <Rules namespace={namespace} rules={state.rules} />}
    </Page>
  );
}
