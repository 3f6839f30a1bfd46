// The current run: asked for by all pages together, and kept with its whole history.
import { createContext, useContext, useEffect, useRef, useState, type ReactNode } from "react";
import { locustStore, pushQuery, SWARM_STATE, type IRootState } from "locust-ui";
import { useSelector } from "react-redux";
import { ask, LostError, pause, submit } from "./api";
import { host, rate, users } from "./templateArgs";

export type Outcome = "PASS" | "FAIL" | "INCONCLUSIVE" | "VOID" | "UNKNOWN";
/** Traffic class, version, expected, observed, and both ends of the confidence sequence; fractions of 1. */
export type ShareAt = [string, string, number, number, number, number];

export interface Share {
  version: string;
  expected: number;
  count: number;
  observed: number;
  low: number;
  high: number;
}

export interface ClassVerdict {
  name: string;
  outcome: Outcome;
  n: number;
  errors: number;
  /** "inf" for an outcome that must not occur. */
  e_value: number | "inf";
  still_needed: number;
  shares: Share[];
  reason: string;
}

export interface Moment {
  seconds: number;
  n: number;
  shares: ShareAt[];
}

export interface Run {
  entry: string;
  namespace: string;
  /** Whose versions share the requests; empty if the entry asks for something else. */
  service: string;
  outcome: Outcome;
  reasons: string[];
  remarks: string[];
  classes: ClassVerdict[];
  sources: Record<string, Record<string, number>>;
  n: number;
  beginning: boolean;
  pending: boolean;
  finished: boolean;
  generator: string;
  margin: number;
  fail_alpha: number;
  pass_alpha: number;
  epoch: number;
  known: number;
  history: Moment[];
}

interface Watched {
  run: Run | undefined;
  /** Why the console cannot be asked at the moment. */
  lost: LostError | undefined;
}

const Context = createContext<Watched>({ run: undefined, lost: undefined });

export const useRun = () => useContext(Context);

const setSwarm = (payload: object) => locustStore.dispatch({ type: "swarm/setSwarm", payload });

export function RunProvider({ children }: { children: ReactNode }) {
  const [watched, setWatched] = useState<Watched>({ run: undefined, lost: undefined });
  const last = useRef<Run>(undefined);
  useEffect(() => {
    let ended = false;
    const watch = async () => {
      while (!ended) {
        try {
          if (!document.hidden) {
            const { epoch, history } = last.current ?? { epoch: -1, history: [] };
            const found = await ask<Run>(`mesh/verdict?epoch=${epoch}&since=${history.length}`);
            last.current = { ...found, history: [...history.slice(0, found.known), ...found.history] };
            setWatched({ run: last.current, lost: undefined });
          }
        } catch (caught) {
          const lost = caught instanceof LostError ? caught : new LostError("unreachable");
          setWatched({ run: last.current, lost });
        }
        await pause(1000);
      }
    };
    void watch();
    return () => {
      ended = true;
    };
  }, []);

  // Locust's own tabs ask for statistics only while they know of a run; one may have been started elsewhere.
  const state = useSelector(({ swarm }: IRootState) => swarm.state);
  const active = Boolean(watched.run && (watched.run.beginning || watched.run.pending));
  useEffect(() => {
    if (active && (state === SWARM_STATE.READY || state === SWARM_STATE.STOPPED)) setSwarm({ state: SWARM_STATE.RUNNING });
  }, [active, state]);
  return <Context.Provider value={watched}>{children}</Context.Provider>;
}

/** Shows a tab, with more of the page's address if it is given. */
export function openTab(tab: string, more: Record<string, string> = {}) {
  pushQuery({ tab, ...more });
  locustStore.dispatch({ type: "url/setUrl", payload: { query: { tab } } });
}

/** Stops the active run through Locust's own endpoint, and the series that it belongs to. */
export async function stop() {
  await submit("stop", {});
  setSwarm({ state: SWARM_STATE.STOPPED });
}

/** Starts a run of an entry through Locust's own endpoint, and shows its verdict. */
export async function begin(entry: string) {
  const fields = { user_count: `${users}`, spawn_rate: `${rate}`, host, entry };
  const { success, message } = await submit<{ success: boolean; message: string }>("swarm", fields);
  if (!success) throw new Error(message);
  setSwarm({ state: SWARM_STATE.RUNNING, host });
  openTab("verdict");
}
