// The confidence sequence of each version's share over time: a band that narrows around the observed share, with the expected share as a
// dashed line and the margin around it.
import { useEffect, useMemo } from "react";
import { Box } from "@mui/material";
import type { LineSeriesOption } from "echarts/charts";
import { GRID, useChart, useLook } from "./chart";
import { useLanguage } from "./language";
import { percent } from "./parts";
import type { Moment } from "./run";

type Line = (number | null)[];

/** A version's shares at each moment of the history; none where it had no share yet. */
interface Shares {
  expected: number;
  observed: Line;
  low: Line;
  /** From the lower to the upper end. */
  width: Line;
}

/** A traffic class's shares by version. */
function sharesOf(history: Moment[], name: string): Map<string, Shares> {
  const found = new Map<string, Shares>();
  history.forEach(({ shares }, index) => {
    for (const [traffic, version, expected, observed, low, high] of shares) {
      if (traffic !== name) continue;
      const empty = () => new Array<number | null>(history.length).fill(null);
      const lines = found.get(version) ?? { expected, observed: empty(), low: empty(), width: empty() };
      lines.expected = expected;
      lines.observed[index] = observed;
      lines.low[index] = low;
      lines.width[index] = high - low;
      found.set(version, lines);
    }
  });
  return found;
}

/** A version's band, stacked on its lower end, and the line of its observed share. */
function seriesOf(version: string, { expected, observed, low, width }: Shares, margin: number, color: string): LineSeriesOption[] {
  const band = { type: "line", stack: `band ${version}`, symbol: "none", silent: true, lineStyle: { opacity: 0 }, color, tooltip: { show: false } } as const;
  return [
    { ...band, data: low },
    { ...band, data: width, areaStyle: { color, opacity: 0.25 } },
    {
      type: "line", name: version, data: observed, symbol: "none", color, lineStyle: { width: 2 },
      markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color, type: "dashed" }, data: [{ yAxis: expected }] },
      markArea: {
        silent: true, itemStyle: { color, opacity: 0.08 },
        data: [[{ yAxis: Math.max(0, expected - margin) }, { yAxis: Math.min(1, expected + margin) }]],
      },
    },
  ];
}

export function BandChart({ history, name, margin }: { history: Moment[]; name: string; margin: number }) {
  const { word } = useLanguage();
  const { palette, ink, text, axis } = useLook();
  const { box, chart } = useChart();
  const shares = useMemo(() => sharesOf(history, name), [history, name]);

  useEffect(() => {
    const colors = [palette.info.main, palette.secondary.main, palette.success.main, palette.warning.main, palette.error.main];
    const label = (version: string) => version || word("service");
    chart.current!.setOption(
      {
        animation: false, grid: GRID, title: { text: name, textStyle: { ...text, fontSize: 14 } },
        legend: { top: 22, textStyle: text, data: [...shares.keys()].map(label) },
        tooltip: { trigger: "axis", valueFormatter: (value: unknown) => percent(Number(value), 2) },
        xAxis: {
          ...axis, type: "category", boundaryGap: false, data: history.map(({ seconds }) => seconds.toFixed(0)), name: word("seconds"), nameGap: 24,
          nameLocation: "middle",
        },
        yAxis: { ...axis, type: "value", min: 0, max: 1, axisLabel: { ...ink, formatter: (value: number) => percent(value, 0) } },
        series: [...shares].flatMap(([version, found], index) => seriesOf(label(version), found, margin, colors[index % colors.length]!)),
      },
      { replaceMerge: ["series"] },
    );
  }, [shares, history, name, margin, palette, word]);

  const last = history.at(-1)?.shares.filter(([traffic]) => traffic === name) ?? [];
  const now = last.map(([, version, , , low, high]) => `${version || word("service")} ${percent(low)} – ${percent(high)}`);
  return <Box aria-label={`${word("over_time")}: ${name}: ${now.join(", ")}`} data-chart={name} ref={box} role="img" sx={{ height: 300, width: "100%" }} />;
}
