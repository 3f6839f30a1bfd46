// Objects before and after a change, side by side, or one below the other on a narrow page.
import { diffLines } from "diff";
import { Box, Typography } from "@mui/material";
import { useLanguage } from "./language";
import type { Compared } from "./settingsForm";

/** A line before and after; none on the side that does not have it. */
type Pair = [string | null, string | null];

const linesOf = (text: string) => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));

/** Both texts line by line: equal lines side by side, and removed lines beside those that replace them. */
function pairsOf({ before, after }: Compared): Pair[] {
  const found: Pair[] = [];
  let removed: string[] = [];
  const flush = (added: string[] = []) => {
    for (let i = 0; i < Math.max(removed.length, added.length); i += 1) found.push([removed[i] ?? null, added[i] ?? null]);
    removed = [];
  };
  for (const part of diffLines(before, after)) {
    const lines = linesOf(part.value);
    if (part.removed) removed = lines;
    else if (part.added) flush(lines);
    else {
      flush();
      lines.forEach((line) => found.push([line, line]));
    }
  }
  flush();
  return found;
}

function Side({ pairs, side, title, name }: { pairs: Pair[]; side: 0 | 1; title: string; name: string }) {
  const changed = ([before, after]: Pair) => before !== after;
  const mark = side ? "+" : "-";
  return (
    <Box sx={{ minWidth: 0 }}>
      <Typography variant="caption">{title}</Typography>
      <Box aria-label={`${name}: ${title}`} component="pre" data-side={side ? "after" : "before"} role="region" sx={{ fontSize: 13, lineHeight: 1.45, m: 0, overflowX: "auto" }} tabIndex={0}>
        {pairs.map((pair, index) => {
          const line = pair[side];
          const color = side ? "success.main" : "error.main";
          const sx = changed(pair) && line !== null ? { color, fontWeight: 600 } : {};
          return (
            <Box key={index} sx={{ minHeight: "1.45em", ...sx }}>
              {line === null ? "" : `${changed(pair) ? mark : " "} ${line}`}
            </Box>
          );
        })}
      </Box>
    </Box>
  );
}

export function Difference({ objects }: { objects: Compared[] }) {
  const { word } = useLanguage();
  return objects.map((object) => {
    const pairs = pairsOf(object);
    return (
      <Box data-object={object.name} key={object.name} sx={{ mb: 2 }}>
        <Typography variant="subtitle2">{object.name}</Typography>
        <Box sx={{ display: "grid", gap: 2, gridTemplateColumns: { xs: "minmax(0, 1fr)", md: "repeat(2, minmax(0, 1fr))" } }}>
          <Side name={object.name} pairs={pairs} side={0} title={word("before")} />
          <Side name={object.name} pairs={pairs} side={1} title={word("after")} />
        </Box>
      </Box>
    );
  });
}
