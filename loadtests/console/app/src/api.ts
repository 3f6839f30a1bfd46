// Requests to the console's endpoints, below the page's own address.
import { useCallback, useEffect, useRef, useState } from "react";

/** A request that did not reach the console: Locust has ended, or the session has. */
export class LostError extends Error {
  constructor(readonly cause: "unreachable" | "expired") {
    super(cause);
  }
}

/** The JSON response of an endpoint; throws the console's own message if it refuses. */
export async function ask<T>(path: string, body?: unknown): Promise<T> {
  const json = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return received<T>(path, body === undefined ? {} : json);
}

/** The JSON response to a form. */
export async function submit<T>(path: string, fields: Record<string, string>): Promise<T> {
  return received<T>(path, { method: "POST", body: new URLSearchParams(fields) });
}

async function received<T>(path: string, request: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new LostError("unreachable");
  }
  if (response.status === 401) throw new LostError("expired");
  const text = await response.text();
  if (!response.headers.get("Content-Type")?.includes("json")) throw new Error(text.trim() || `HTTP ${response.status}`);
  const content = JSON.parse(text);
  if (!response.ok) throw new Error(content.error ?? `HTTP ${response.status}`);
  return content as T;
}

export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export interface Polled<T> {
  data: T | undefined;
  /** Why the last request failed; the data are those of the last one that did not. */
  error: Error | undefined;
  again: () => Promise<void>;
}

/** The longest time until something that failed is tried again. */
const RETRY_MILLISECONDS = 10_000;

/** What `load` returns, again and again while the page can be seen; from the start whenever `load` changes. */
export function usePolled<T>(load: () => Promise<T>, milliseconds: number): Polled<T> {
  const [data, setData] = useState<T>();
  const [error, setError] = useState<Error>();
  const current = useRef(load);
  const attempt = useCallback(async () => {
    try {
      const found = await load();
      if (current.current !== load) return true;
      setData(found);
      setError(undefined);
      return true;
    } catch (caught) {
      if (current.current === load) setError(caught as Error);
      return false;
    }
  }, [load]);
  useEffect(() => {
    current.current = load;
    setData(undefined);
    setError(undefined);
    let timer = 0;
    let ended = false;
    const go = async () => {
      const good = document.hidden || (await attempt());
      if (!ended) timer = window.setTimeout(go, good ? milliseconds : Math.min(milliseconds, RETRY_MILLISECONDS));
    };
    void go();
    return () => {
      ended = true;
      window.clearTimeout(timer);
    };
  }, [load, attempt, milliseconds]);
  const again = useCallback(async () => void (await attempt()), [attempt]);
  return { data, error, again };
}
