// What Locust tells its page when it is loaded. Locust's library reads it from `window` as it is imported, so this module comes first.
export interface Field {
  name: string;
  kind: "integer" | "percent" | "seconds" | "text" | "choice";
  low: number;
  high: number;
  choices: string[];
  needs: string;
}

interface TemplateArgs {
  host: string;
  num_users: number | null;
  spawn_rate: number | null;
  console: {
    namespaces: string[];
    /** Namespaces besides the lab's that may be judged. */
    others: string[];
    fields: Record<string, Field[]>;
    login: boolean;
  };
}

const args = JSON.parse(document.getElementById("template-args")?.textContent ?? "{}") as TemplateArgs;
(window as unknown as { templateArgs: TemplateArgs }).templateArgs = args;

export const { host, console: lab } = args;
export const users = args.num_users ?? 20;
export const rate = args.spawn_rate ?? 20;
