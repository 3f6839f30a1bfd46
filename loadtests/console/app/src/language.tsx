// The page's texts: words.json, in the language that was chosen last, or else in the browser's.
import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import words from "./words.json";

export type Word = keyof typeof words.en;
type Code = keyof typeof words;

const CODES = Object.keys(words) as Code[];
const KEY = "istio-lab-language";

function preferred(): Code {
  const asked = [new URLSearchParams(window.location.search).get("lang"), localStorage.getItem(KEY), ...navigator.languages];
  for (const one of asked) {
    const found = CODES.find((code) => one?.toLowerCase().split("-")[0] === code);
    if (found) return found;
  }
  return "en";
}

interface Language {
  code: Code;
  word: (key: Word) => string;
  /** Shows the page in the other language. */
  change: () => void;
}

const Context = createContext<Language | null>(null);

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [code, setCode] = useState(preferred);
  useEffect(() => {
    document.documentElement.lang = code;
  }, [code]);
  const value = useMemo<Language>(() => {
    const change = () => {
      const next = CODES[(CODES.indexOf(code) + 1) % CODES.length]!;
      localStorage.setItem(KEY, next);
      setCode(next);
    };
    return { code, word: (key) => words[code][key], change };
  }, [code]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useLanguage(): Language {
  const found = useContext(Context);
  if (!found) throw new Error("no language");
  return found;
}
