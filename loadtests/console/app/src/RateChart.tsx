// A call's rate over the last half hour, and that of its failures, by the mesh's own metrics.
import { useCallback, useEffect } from "react";
import { Box, Typography } from "@mui/material";
import { ask, usePolled } from "./api";
import { GRID, useChart, useLook } from "./chart";
import { useLanguage } from "./language";
import type { Edge } from "./layout";
import { Loading, Problem } from "./parts";

/** Requests per second at each time. */
interface Rates {
  /** Seconds of the epoch. */
  times: number[];
  rates: number[];
  errors: number[];
}

function Lines({ data, label }: { data: Rates; label: string }) {
  const { word, code } = useLanguage();
  const { palette, ink, text, axis } = useLook();
  const { box, chart } = useChart();
  useEffect(() => {
    const clock = (time: number) => new Date(time * 1000).toLocaleTimeString(code, { hour: "2-digit", minute: "2-digit" });
    const line = (name: string, values: number[], color: string) =>
      ({ type: "line", name, data: values, symbol: "none", color, lineStyle: { width: 2 }, areaStyle: { color, opacity: 0.15 } }) as const;
    chart.current!.setOption({
      animation: false, grid: { ...GRID, top: 36 }, legend: { textStyle: text },
      tooltip: { trigger: "axis", valueFormatter: (value: unknown) => `${Number(value).toFixed(1)} /s` },
      xAxis: { ...axis, type: "category", boundaryGap: false, data: data.times.map(clock) },
      yAxis: { ...axis, type: "value", min: 0, axisLabel: { ...ink, formatter: "{value} /s" } },
      series: [line(word("rate"), data.rates, palette.info.main), line(word("errors"), data.errors, palette.error.main)],
    });
  }, [data, code, word, palette, ink, text, axis]);
  return <Box aria-label={label} data-rates ref={box} role="img" sx={{ height: 220, width: "100%" }} />;
}

export function RateChart({ namespace, edge }: { namespace: string; edge: Edge }) {
  const { word } = useLanguage();
  const query = new URLSearchParams({ namespace, source: edge.source, target: edge.target }).toString();
  const { data, error } = usePolled(useCallback(() => ask<Rates>(`mesh/topology/rates?${query}`), [query]), 15000);
  const most = Math.max(0, ...(data?.rates ?? []));
  return (
    <Box component="section">
      <Typography component="h2" variant="h6">
        {word("rates")}: {edge.source} → {edge.target}
      </Typography>
      <Problem error={error} />
      {!data && !error && <Loading />}
      {data && <Lines data={data} label={`${word("rates")}: ${edge.source} → ${edge.target}: ${word("at_most")} ${most.toFixed(1)} /s`} />}
    </Box>
  );
}
