// An interval of a share, as figures and as a bar.
import { Box } from "@mui/material";
import { figures, percent } from "./parts";
import type { Share } from "./run";

/** The interval on a line from 0 to 100 %, over the margin around the expected share. */
export function Interval({ share, margin }: { share: Share; margin: number }) {
  const x = (value: number) => `${Math.min(1, Math.max(0, value)) * 100}%`;
  const width = (low: number, high: number) => `${(Math.min(1, high) - Math.max(0, low)) * 100}%`;
  const label = `${percent(share.low)} – ${percent(share.high)}`;
  return (
    <Box sx={{ ...figures, minWidth: "9rem" }}>
      {label}
      <Box aria-hidden sx={{ bgcolor: "action.hover", height: 10, position: "relative" }}>
        <Box sx={{ bgcolor: "action.disabled", height: 10, left: x(share.expected - margin), position: "absolute", width: width(share.expected - margin, share.expected + margin) }} />
        <Box sx={{ bgcolor: "info.main", height: 6, left: x(share.low), minWidth: 2, opacity: 0.8, position: "absolute", top: 2, width: width(share.low, share.high) }} />
        <Box sx={{ bgcolor: "text.primary", height: 10, left: x(share.expected), position: "absolute", width: "2px" }} />
      </Box>
    </Box>
  );
}
